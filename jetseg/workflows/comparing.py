"""Networks against each other: how fast they are, where one of them begins to compute something else, a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetseg.config import validate_config
from jetseg.data.dataset import Dataset, open_dataset
from jetseg.engine.engine import Engine
from jetseg.errors import ConfigError
from jetseg.evaluation.benchmark import benchmark, inference_on_noise
from jetseg.evaluation.config import BenchConfig, Bounds, ParityConfig
from jetseg.evaluation.parity import LadderParity, Rung, measure_parity
from jetseg.network import Network, open_network
from jetseg.onnx.cost import Cost, onnx_cost
from jetseg.progress import ProgressCallback, report_progress, track
from jetseg.provenance import device_name, toolchain
from jetseg.report.config import ReportConfig
from jetseg.report.rows import Entry, Row, make_rows, unique_names
from jetseg.shipped import find_artifact
from jetseg.storage import check_place, scratch_folder
from jetseg.workflows.exporting import export
from jetseg.workflows.opening import manifest_for, open_engine
from jetseg.workflows.peak_memory import measure_peak_memory
from jetseg.workflows.stage_results import networks_of_run

if TYPE_CHECKING:
    from jetseg.report.build import ReportResult

Networks = Sequence[Network | Path | str]
"""Opened, or paths, or names of networks that come with jetseg; also folders that `jetseg compress` filled."""


@dataclass(frozen=True)
class SpeedComparison:
    """How fast, large and hungry networks are.

    Attributes:
        rows: One per network, in the order given; speed ratios are against the first.
        conditions: Device, threads, turns and toolchain.
    """

    rows: tuple[Row, ...]
    conditions: dict[str, Any]


@dataclass(frozen=True)
class RungSource:
    """What a rung of a followed network is: its file, what runs it, and in which precision."""

    path: Path
    backend: str
    precision: str


@dataclass(frozen=True)
class ParityResult:
    """A network that was followed through its artifacts.

    Attributes:
        ladder: What each step changed, and the first one that changed too much.
        sources: What each rung is, in their order.
        conditions: Data, split, bounds, device and toolchain.
    """

    ladder: LadderParity
    sources: tuple[RungSource, ...]
    conditions: dict[str, Any]


def compare_speed(
    networks: Networks,
    *,
    manifest: Path | str | None = None,
    progress: ProgressCallback | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> SpeedComparison:
    """Compares latency, frames per second, size and memory of networks by alternated runs.

    Latency is that of the network alone, without preprocessing and postprocessing. Peak memory is that of a process
    that does nothing but open and run the network.

    Args:
        networks: The first one is what the others are compared with.
        manifest: A manifest for files that have none beside them.
        progress: Is told how the work goes on.
        settings: Fields of `jetseg.evaluation.config.BenchConfig`, as in `rounds=9`.

    Raises:
        ConfigError: Settings are wrong.
        JetsegError: A network is damaged, or a library is missing.
    """
    config = validate_config(BenchConfig, settings)
    with report_progress(progress), open_entries(networks, manifest, config.threads) as entries:
        memory = {
            entry.name: measure_peak_memory(entry.engine.network, config.threads)
            for entry in track(entries, "Peak memory")
            if entry.engine.network is not None
        }
        calls: dict[str, Callable[[], object]] = {entry.name: inference_on_noise(entry.engine) for entry in entries}
        latencies = benchmark(calls, rounds=config.rounds, seconds=config.seconds)
        rows = make_rows(entries, latencies=latencies, peak_memory=memory)
    conditions = {
        "device": device_name(),
        "threads": config.threads,
        "rounds": config.rounds,
        "seconds_per_turn": config.seconds,
        "toolchain": toolchain(),
    }
    return SpeedComparison(rows, conditions)


def follow_parity(
    networks: Networks,
    *,
    data: Dataset | str,
    manifest: Path | str | None = None,
    progress: ProgressCallback | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> ParityResult:
    """Follows a network from checkpoint to engine and finds the first artifact that computes something else.

    Args:
        networks: Artifacts of one network, in the order they were made; two at least.
        data: Frames, as a spec or opened; with labels mIoU is compared too.
        manifest: A manifest for files that have none beside them.
        progress: Is told how the work goes on.
        settings: Fields of `jetseg.evaluation.config.ParityConfig`, as in `min_agreement=98.0`.

    Raises:
        ConfigError: Settings are wrong, or there is only one artifact.
        ManifestError: The artifacts are not of one network.
        JetsegError: An artifact or the data is wrong, or a library is missing.
    """
    config = validate_config(ParityConfig, settings)
    if len(networks) < 2:
        given = ", ".join(map(str, networks)) or "nothing"
        raise ConfigError(f"Only {given} was given.", "Give at least two artifacts of one network to compare.")
    dataset = open_dataset(data)
    split = dataset.split(config.split)
    with report_progress(progress), open_entries(networks, manifest, config.threads) as entries:
        rungs = [Rung(entry.name, entry.engine.manifest, entry.engine.infer) for entry in entries]
        ladder = measure_parity(rungs, split, config, frames=config.frames)
    bounds = {name: getattr(config, name) for name in Bounds.model_fields}
    conditions = {"data": dataset.spec, "split": config.split, **bounds, "device": device_name()}
    sources = tuple(RungSource(entry.path, entry.backend, entry.engine.manifest.precision) for entry in entries)
    return ParityResult(ladder, sources, {**conditions, "toolchain": toolchain()})


def write_report(
    networks: Networks,
    *,
    data: Dataset | str,
    split: str = "val",
    out: Path | str = "report.html",
    manifest: Path | str | None = None,
    progress: ProgressCallback | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> ReportResult:
    """Measures networks on the same frames and writes accuracy, speed and pictures as one HTML page.

    A checkpoint is measured as it would be deployed, exported to ONNX.

    Args:
        networks: In the order they were made; the first one is the reference.
        data: Labelled frames, as a spec or opened.
        split: Their split.
        out: The page to write.
        manifest: A manifest for files that have none beside them.
        progress: Is told how the work goes on.
        settings: Fields of `jetseg.report.config.ReportConfig`, as in `examples=5`.

    Raises:
        ConfigError: Settings are wrong.
        MissingDependencyError: What draws the page is not installed.
        JetsegError: A network or the data is wrong, or the page cannot be written.
    """
    from jetseg.report import build  # needs matplotlib and jinja2

    config = validate_config(ReportConfig, settings)
    check_place(Path(out))
    frames = open_dataset(data).split(split)
    with report_progress(progress), open_entries(networks, manifest, config.threads, deployed=True) as entries:
        return build.write_report(Path(out), config, entries, frames)


@contextmanager
def open_entries(
    networks: Networks, manifest: Path | str | None = None, threads: int | None = None, *, deployed: bool = False
) -> Iterator[list[Entry]]:
    """Opens networks to compare them, and closes them all at the end.

    Args:
        networks: Checkpoints, ONNX files or engines, or folders that `jetseg compress` filled.
        manifest: A manifest for files that have none beside them.
        threads: Threads that each one may use.
        deployed: Run a checkpoint as it would be deployed, exported to ONNX, and not with torch.

    Raises:
        JetsegError: A network is damaged, or a library is missing.
    """
    with ExitStack() as stack:
        entries = []
        for name, given in _named(networks):
            network = given if isinstance(given, Network) else open_network(given, manifest_for(given, manifest))
            runs = network
            if deployed and network.manifest.kind == "checkpoint":
                folder = stack.enter_context(scratch_folder("jetseg-compared-"))
                runs = export(network, out=folder / f"{network.name}.onnx").network
            engine = stack.enter_context(open_engine(runs, threads=threads))
            entries.append(Entry(name, network.path, engine, network.manifest, _cost(network, engine)))
        yield entries


def _named(networks: Networks) -> list[tuple[str, Network | Path]]:
    """Returns the networks with their names; those of a folder in its place."""
    found = [network if isinstance(network, Network) else find_artifact(Path(network)) for network in networks]
    files = [network for network in found if isinstance(network, Network) or not network.is_dir()]
    names = iter(unique_names([file.path if isinstance(file, Network) else file for file in files]))
    named: list[tuple[str, Network | Path]] = []
    for network in found:
        if isinstance(network, Path) and network.is_dir():
            named += networks_of_run(network)
        else:
            named.append((next(names), network))
    return named


def _cost(network: Network, engine: Engine) -> Cost | None:
    """Counts parameters and multiply-accumulates; None for an engine that hides them."""
    manifest = engine.manifest
    if network.manifest.kind == "checkpoint":
        from jetseg.models.cost import module_cost
        from jetseg.training.checkpoint import load_checkpoint

        module, _ = load_checkpoint(network)
        spec = manifest.input
        return module_cost(module, (1, spec.channels, spec.height, spec.width))
    is_onnx = network.path.suffix == ".onnx" or manifest.kind == "onnx"
    return onnx_cost(network.path, manifest, network.sha256) if is_onnx else None
