"""Tries what could make a network faster, and says what to do: the workflow of `jetseg advise`."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jetseg.advice.chains import Chain, leaders, make_chains, rank
from jetseg.advice.clock import Clock
from jetseg.advice.config import AdviseConfig
from jetseg.advice.finding import Finding
from jetseg.advice.plan import Plan
from jetseg.advice.probe import Probe
from jetseg.advice.probes.distillation import Distillation
from jetseg.advice.probes.half import Half
from jetseg.advice.probes.input_size import InputSize
from jetseg.advice.probes.int8 import Int8
from jetseg.advice.probes.lighter import Lighter
from jetseg.advice.probes.low_rank import LowRank
from jetseg.advice.probes.output_stride import OutputStride
from jetseg.advice.probes.pruning import Pruning
from jetseg.advice.probes.two_four import TwoFour
from jetseg.advice.recipe_writing import write_recipe
from jetseg.advice.stopwatch import make_stopwatch
from jetseg.advice.workbench import Workbench
from jetseg.config import validate_config
from jetseg.data.dataset import Dataset, open_dataset
from jetseg.errors import ArtifactError, JetsegError
from jetseg.evaluation.accuracy import check_frames
from jetseg.evaluation.tasks import refuse_several
from jetseg.network import Network
from jetseg.progress import ProgressCallback, report_progress, task
from jetseg.provenance import device_name, toolchain
from jetseg.storage import check_place, scratch_folder
from jetseg.targets import find_target
from jetseg.workflows.opening import as_network

_LOG = logging.getLogger(__name__)

PROBES: tuple[type[Probe], ...] = (
    Int8,
    InputSize,
    OutputStride,
    Pruning,
    Lighter,
    Distillation,
    LowRank,
    Half,
    TwoFour,
)
"""In the order in which they run: what is cheap and pays most often comes first."""
_MEASURED = 5
"""Chains whose speed is measured as a whole."""
_RANKED = 3
_FOR_CHAINS = 0.2
"""Part of the time that is kept for chains."""


@dataclass(frozen=True)
class Advice:
    """What to do with a network, and why.

    Attributes:
        findings: What came out of each probe.
        ranked: The best chains, the recommended one first; each of other techniques.
        recipes: The recipe of each of these; None where there is nothing to do.
        page: The page with figures; None if none was asked for.
        float_ms: Latency of the network as it is, in float.
        miou: Its mIoU in percent, on the frames that all was measured on.
        conditions: Data, split, device and toolchain, as figures are quoted with them.
        seconds: How long it took.
    """

    findings: tuple[Finding, ...]
    ranked: tuple[Chain, ...]
    recipes: tuple[Path | None, ...]
    page: Path | None
    float_ms: float
    miou: float
    conditions: dict[str, Any]
    seconds: float

    @property
    def recommended(self) -> Chain:
        """The chain to run."""
        return self.ranked[0]


def advise(
    network: Network | Path | str,
    *,
    data: Dataset | str,
    out: Path | str | None = None,
    page: Path | str | None = None,
    manifest: Path | str | None = None,
    progress: ProgressCallback | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> Advice:
    """Tries each technique at little cost, and writes the chain that pays as a recipe.

    A probe that fails says why, and the others go on.

    Args:
        network: Checkpoint or float ONNX file, opened or by its path; of an ONNX file no layer can be changed.
        data: Frames with labels, as a spec or opened.
        out: Recipe to write; by default NAME.advice.yaml. The next two get `.2` and `.3` into their names.
        page: HTML page to write; none by default.
        manifest: The manifest of an ONNX file, if it is not beside it.
        progress: Is told how the work goes on.
        settings: Fields of `jetseg.advice.config.AdviseConfig`, as in `max_drop=1.0, budget_ms=5.0`.

    Raises:
        ConfigError: Settings are wrong.
        DataError: The frames have no labels, or other classes than the network.
        JetsegError: The network is broken, or a library is missing.
    """
    started = time.monotonic()
    config = validate_config(AdviseConfig, settings)
    opened, dataset = as_network(network, manifest), open_dataset(data)
    recipe = Path(out) if out else Path(f"{opened.name}.advice.yaml")
    _check(opened, dataset, config, [recipe, *([] if page is None else [Path(page)])])
    with report_progress(progress), _workbench(opened, dataset, config, manifest) as bench:
        float_ms, miou = bench.float_ms, bench.miou(Plan())  # first, for everything is compared with them
        findings = tuple(_run_probes(bench))
        ranked = _rank(bench, findings)
        recipes = tuple(_write(bench, chain, recipe, place) for place, chain in enumerate(ranked, 1))
        advice = Advice(
            findings,
            ranked,
            recipes,
            None,
            float_ms,
            miou,
            _conditions(bench),
            time.monotonic() - started,
        )
        if page is None:
            return advice
        from jetseg.advice.page import write_page

        write_page(Path(page), opened.path.name, config, advice)
        return replace(advice, page=Path(page))


def _check(network: Network, dataset: Dataset, config: AdviseConfig, places: Sequence[Path]) -> None:
    """Refuses at once what would fail after minutes."""
    refuse_several(network.manifest, "The adviser")
    if network.manifest.kind == "engine":
        raise ArtifactError(f"{network.path} is an engine, which cannot be changed.", "Give the float network.")
    if config.target is not None:
        find_target(config.target)
    for split in (config.split, config.eval_split):
        check_frames(network.manifest.classes, dataset.split(split), purpose="to measure on")
    for place in places:
        check_place(place)


@contextmanager
def _workbench(
    network: Network, dataset: Dataset, config: AdviseConfig, manifest: Path | str | None
) -> Iterator[Workbench]:
    stopwatch = make_stopwatch(config)
    with scratch_folder("jetseg-advice-") as folder:
        file = None if manifest is None else Path(manifest)
        yield Workbench(network, dataset, config, folder, Clock(60 * config.minutes), stopwatch, file)


def _run_probes(bench: Workbench) -> Iterator[Finding]:
    """Runs the probes, each within its share of the time that is left; what does not apply has none."""
    shares = [0.0 if _why_not(kind(), bench) else kind.share for kind in PROBES]
    kept = _FOR_CHAINS / (1 - _FOR_CHAINS) * (sum(shares) or 1.0)
    with task("Advising", len(PROBES)) as work:
        for number, kind in enumerate(PROBES):
            work.update(note=kind.name)
            _LOG.info("Trying: %s", kind.name)
            bench.clock.begin(shares[number] / (sum(shares[number:]) + kept))
            yield _run(kind(), bench)
            work.update(advance=1)


def _why_not(probe: Probe, bench: Workbench) -> str:
    """Returns why a probe cannot be tried; empty if it can."""
    try:
        return probe.applies(bench)
    except Exception as error:  # whatever a library met in a foreign network
        return _failed(error)


def _run(probe: Probe, bench: Workbench) -> Finding:
    """Runs one probe; what it raises is its finding."""
    started = time.monotonic()
    reason = _why_not(probe, bench)
    if not reason and bench.clock.left() <= 0:
        reason = "no time was left for it: give more `minutes`"
    try:
        finding = Finding(probe.name, impossible=reason) if reason else probe.run(bench)
    except Exception as error:  # likewise
        finding = Finding(probe.name, impossible=_failed(error))
    return replace(finding, seconds=time.monotonic() - started)


def _failed(error: Exception) -> str:
    _LOG.debug("A probe failed.", exc_info=error)
    return f"it failed: {error}" if isinstance(error, JetsegError) else f"it failed: {type(error).__name__}: {error}"


def _rank(bench: Workbench, findings: Sequence[Finding]) -> tuple[Chain, ...]:
    """Ranks chains by the sum of their parts, measures the leaders as wholes, and ranks these."""
    ranked = rank(make_chains(findings), bench.config, bench.float_ms)
    bench.clock.begin(1.0)
    measured: list[Chain] = []
    for chain in leaders(ranked, _MEASURED):
        whole = chain
        # what no kernel here does, as skipping zeros, would be missing from the speed of the whole
        if chain.speedup_from != "prior" and (bench.clock.left() > 0 or len(measured) < _RANKED):
            try:
                whole = chain.as_whole(bench.speed(chain.plan), bench.stopwatch.basis)
            except JetsegError as error:
                _LOG.warning("%s was not measured as a whole: %s", chain.plan, error)
        measured.append(whole)
    return tuple(rank(measured, bench.config, bench.float_ms)[:_RANKED])


def _write(bench: Workbench, chain: Chain, recipe: Path, place: int) -> Path | None:
    """Writes the recipe of a chain; the network as it is needs one, too, to become an engine."""
    out = recipe if place == 1 else recipe.with_name(f"{recipe.stem}.{place}{recipe.suffix}")
    return out if write_recipe(bench, chain, out) else None


def _conditions(bench: Workbench) -> dict[str, Any]:
    config = bench.config
    return {
        "data": bench.dataset.spec,
        "split": config.eval_split,
        "frames": min(config.frames, len(bench.dataset.split(config.eval_split))),
        "speeds": bench.stopwatch.source,
        "threads": config.threads,
        "device": config.target or device_name(),
        "toolchain": toolchain(),
    }
