"""From a checkpoint to a smaller one: pruning and low rank, each with the training that repairs the network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetseg.compress.config import FactorizeConfig, FineTuneConfig, PruneConfig
from jetseg.config import changed
from jetseg.errors import ConfigError
from jetseg.evaluation.tasks import has_tasks
from jetseg.network import Network, open_network
from jetseg.progress import ProgressCallback, report_progress
from jetseg.storage import check_output
from jetseg.workflows.config import validate_each
from jetseg.workflows.fine_tuning import FineTuning, run_folder
from jetseg.workflows.opening import as_network
from jetseg.workflows.task_budget import check_budgets, measure_losses

if TYPE_CHECKING:
    from jetseg.compress.factorize import FactorizeResult
    from jetseg.compress.prune import PruneResult
    from jetseg.compress.speed import SpeedMeter
    from jetseg.data.dataset import Dataset

_SUFFIX = ".safetensors"


def prune(
    checkpoint: Network | Path | str,
    *,
    out: Path | str | None = None,
    data: Dataset | str | None = None,
    steps: int = 1,
    progress: ProgressCallback | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the models
) -> PruneResult:
    """Removes channels or single weights of a checkpoint, and fine-tunes what is left if `epochs` are given.

    Args:
        checkpoint: Network to prune, opened or by its path.
        out: Checkpoint to write; by default CHECKPOINT.pruned.safetensors. A folder beside it holds the fine-tuning,
            which goes on where it was interrupted.
        data: Frames to score and to fine-tune on, as a spec or opened.
        steps: Reach the ratio in so many steps, each scored anew; the epochs of fine-tuning are shared among them.
        progress: Is told how the work goes on.
        settings: Fields of `jetseg.compress.config.PruneConfig` and `FineTuneConfig`, as in `ratio=0.3,
            criterion="taylor", epochs=20, teacher="big.safetensors"`.

    Returns:
        The checkpoint, its cost before and after, what happened to each layer, and its mIoU if it was fine-tuned.

    Raises:
        ConfigError: Settings are wrong or do not fit each other.
        QualityError: The wanted speed was not met closely enough.
        GateError: A task lost more than `max_drop` allows.
        JetsegError: The checkpoint or the data are wrong, or a library is missing.
    """
    config, tuning = validate_each(settings, PruneConfig, FineTuneConfig)
    if steps < 1 or (steps > 1 and (config.wants_speed or config.method != "structured")):
        raise ConfigError(
            "Several `steps` need `method` structured with a `ratio`.",
            "Leave `steps` out, or correct these.",
        )
    network, target, dataset = _opened(checkpoint, out, data, "pruned")
    frames = {"split": config.split} if "split" in config.model_fields_set else {}
    fine_tuning = _fine_tuning(tuning, network, dataset, frames, target)
    with report_progress(progress):
        from jetseg.workflows.speed_meter import speed_meter

        meter = speed_meter(network, config)
        check_budgets(network, config.max_drop, dataset)
        result = _prune_in_steps(network, config, dataset, meter, fine_tuning, steps, target)
        if dataset is None or not (config.max_drop or has_tasks(network.manifest)):
            return result
        split = str(tuning.training.get("eval_split", "val"))
        return replace(result, tasks=measure_losses(network, target, dataset, split, config.max_drop))


def factorize(
    checkpoint: Network | Path | str,
    *,
    out: Path | str | None = None,
    data: Dataset | str | None = None,
    progress: ProgressCallback | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the models
) -> FactorizeResult:
    """Splits convolutions into chains of smaller ones where that pays, and fine-tunes if `epochs` are given.

    Args:
        checkpoint: Network to factorize, opened or by its path.
        out: Checkpoint to write; by default CHECKPOINT.factorized.safetensors.
        data: Frames to fine-tune on, as a spec or opened.
        progress: Is told how the work goes on.
        settings: Fields of `jetseg.compress.config.FactorizeConfig` and `FineTuneConfig`, as in `energy=0.9`.

    Returns:
        The checkpoint, its cost before and after, and a verdict on each convolution. If low rank pays for none
        (`pays` is false), nothing is written.

    Raises:
        ConfigError: Settings are wrong or do not fit each other.
        JetsegError: The checkpoint or the data are wrong, or a library is missing.
    """
    config, tuning = validate_each(settings, FactorizeConfig, FineTuneConfig)
    network, target, dataset = _opened(checkpoint, out, data, "factorized")
    fine_tuning = _fine_tuning(tuning, network, dataset, {}, target)
    with report_progress(progress):
        from jetseg.compress.factorize import factorize_network
        from jetseg.workflows.speed_meter import layer_timer

        folder = run_folder(target)
        place = folder / "factorized.safetensors" if tuning.epochs else target
        result = factorize_network(network, config, place, layer_timer(config))
        if not (tuning.epochs and result.pays):
            return replace(result, checkpoint=target)
        miou = fine_tuning.run(place, folder, target, tuning.epochs)
        return replace(result, checkpoint=target, miou=miou)


def _opened(
    checkpoint: Network | Path | str, out: Path | str | None, data: Dataset | str | None, what: str
) -> tuple[Network, Path, Dataset | None]:
    """Opens what is read, and names what is written."""
    network = as_network(checkpoint)
    target = Path(out) if out else network.path.with_name(f"{network.name}.{what}{_SUFFIX}")
    check_output(target, _SUFFIX, [network.path])
    if data is None:
        return network, target, None
    from jetseg.data.dataset import open_dataset

    return network, target, open_dataset(data)


def _fine_tuning(
    tuning: FineTuneConfig, network: Network, dataset: Dataset | None, frames: dict[str, Any], target: Path
) -> FineTuning:
    fine_tuning = FineTuning(tuning, frames if dataset is None else {**frames, "data": dataset.spec})
    fine_tuning.check(network.path, run_folder(target))
    return fine_tuning


def _prune_in_steps(
    network: Network,
    config: PruneConfig,
    dataset: Dataset | None,
    meter: SpeedMeter | None,
    fine_tuning: FineTuning,
    steps: int,
    target: Path,
) -> PruneResult:
    """Prunes and trains in turn; each step removes the same fraction of what is left.

    With fewer epochs than steps, the first steps are not trained; the last one always is.
    """
    from jetseg.compress.layers import join_removals
    from jetseg.compress.prune import prune_network

    source, folder = network, run_folder(target)
    results: list[PruneResult] = []
    miou = None
    for step in range(1, steps + 1):
        end = target if step == steps else folder / f"step{step}.safetensors"
        epochs = fine_tuning.epochs * step // steps - fine_tuning.epochs * (step - 1) // steps
        pruned = folder / f"pruned{step}.safetensors" if epochs else end
        share = {
            "ratio": 1 - (1 - config.ratio) ** (1 / steps),
            "max_ratio": 1 - (1 - max(config.max_ratio, config.ratio)) ** (1 / steps),
        }
        own = changed(config, **share) if steps > 1 else config
        results.append(prune_network(source, own, pruned, dataset=dataset, meter=meter))
        if epochs:
            miou = fine_tuning.run(pruned, folder / f"step{step}" if steps > 1 else folder, end, epochs)
        source = source if step == steps else open_network(end)
    first, last = results[0], results[-1]
    layers = first.layers
    for result in results[1:]:
        layers = tuple(
            replace(
                layer,
                before=earlier.before,
                removed=join_removals(layer.before, earlier.removed, layer.removed),
            )
            for earlier, layer in zip(layers, result.layers, strict=True)
        )
    return replace(last, checkpoint=target, before=first.before, layers=layers, miou=miou)
