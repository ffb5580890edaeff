"""From a float network to an engine that passed the gate."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jetseg.config import validate_config
from jetseg.data.dataset import Dataset, open_dataset
from jetseg.engine.any_backend import build_for_any
from jetseg.engine.build import build_engine as build_one
from jetseg.engine.config import AUTO, BuildConfig
from jetseg.engine.result import BuildResult, EngineRejectedError
from jetseg.engine.selection import build_fastest
from jetseg.errors import ConfigError, MissingDependencyError
from jetseg.kit.opening import is_kit, open_kit
from jetseg.kit.signature import key_in_force
from jetseg.kit.signed import open_driven, open_signed_ranges
from jetseg.network import Network
from jetseg.progress import ProgressCallback, report_progress
from jetseg.quantization.ranges import Ranges
from jetseg.storage import check_place
from jetseg.workflows.opening import as_ranges

_LOG = logging.getLogger(__name__)


def build_engine(
    network: Network | Path | str,
    *,
    ranges: Ranges | Path | str | None = None,
    data: Dataset | str | None = None,
    out: Path | str | None = None,
    report: Path | str | None = None,
    key: Path | str | None = None,
    progress: ProgressCallback | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> BuildResult:
    """Builds an engine and, given data, measures it against the float network before it gets to its place.

    Args:
        network: Float ONNX file, opened or by its path; or a kit of `jetseg pack`.
        ranges: Its ranges, opened or by their path; without them int8 calibrates on `data` first.
        data: Frames, as a spec or opened, to calibrate on and to measure on.
        out: Engine file; by default engines/NAME.PRECISION.SUFFIX.
        report: Page about what was lost and which layers lose it; a rejected engine gets one anyway, beside it.
        key: Public key of minisign that the kit, or the network's manifest and the ranges, must be signed with; see
            `jetseg.kit.signature.key_in_force`. What is open already is the caller's.
        progress: Is told how the work goes on.
        settings: Fields of `jetseg.engine.config.BuildConfig`, as in `max_drop=0.5`.

    Returns:
        The engine's path, manifest and what it lost.

    Raises:
        ConfigError: Settings are wrong.
        EngineRejectedError: The engine lost more than its budget; `result` tells what, and which layers are to blame.
        JetsegError: The network, ranges or data are wrong, or a library is missing.

    >>> built = build_engine("camvid-light.onnx", precision="fp32", out="light.fp32.onnx")
    >>> built.path.name, built.manifest.precision
    ('light.fp32.onnx', 'fp32')
    """
    config = validate_config(BuildConfig, {"sensitivity": report is not None, **settings})
    dataset = None if data is None else open_dataset(data)
    target = None if out is None else Path(out)
    if report is not None:
        import jetseg.report.build  # noqa: F401 - says at once if what draws it is missing

        check_place(Path(report))
    with report_progress(progress), _opened(network, ranges, key_in_force(key)) as (parent, known):
        try:
            if config.backend == AUTO:
                result = build_for_any(parent, config, dataset=dataset, ranges=known, out=target)
            elif config.precision == AUTO:
                result = build_fastest(parent, config, dataset=dataset, ranges=known, out=target)
            else:
                result = build_one(parent, config, ranges=known, dataset=dataset, out=target)
        except EngineRejectedError as error:
            result = error.result
            _write_page(Path(report or result.path.with_suffix(".html")), parent, config, dataset, result)
            raise
        if report is not None:
            _write_page(Path(report), parent, config, dataset, result)
        return result


@contextmanager
def _opened(
    network: Network | Path | str, ranges: Ranges | Path | str | None, key: Path | None
) -> Iterator[tuple[Network, Ranges | None]]:
    """Opens a network and its ranges; those of a kit are there as long as the context."""
    if not isinstance(network, Network) and is_kit(Path(network)):
        if ranges is not None:
            raise ConfigError(f"{network} is a kit, which has its own ranges.", "Leave out `calibration`.")
        with open_kit(Path(network), key=key) as kit:
            yield kit.network, kit.ranges
        return
    parent = network if isinstance(network, Network) else open_driven(network, key=key)
    if key is not None and isinstance(ranges, Path | str):
        ranges = open_signed_ranges(Path(ranges), parent, key)
    yield parent, None if ranges is None else as_ranges(ranges, parent)


def _write_page(out: Path, parent: Network, config: BuildConfig, dataset: Dataset | None, result: BuildResult) -> None:
    """Writes the page about an engine; where there can be none, says why."""
    if result.accuracy is None or dataset is None:
        if result.agreement is not None:
            _LOG.warning("No report: it compares what networks get right, and the data have no labels.")
        return
    if result.report.not_run_here is not None:
        _LOG.warning("No report: it compares networks that run here.")
        return
    try:
        from jetseg.report.build import GateVerdict, write_report
        from jetseg.report.config import ReportConfig
    except MissingDependencyError as error:
        _LOG.warning("No report: %s", error)
        return
    from jetseg.workflows.comparing import open_entries

    layers = tuple((effect.layer, round(100.0 - effect.agreement, 3)) for effect in result.sensitive_layers)
    page = ReportConfig(
        title=f"What {result.path.name} lost",
        frames=config.eval_frames,
        threads=config.threads,
        rounds=3,
        seconds=0.3,
    )
    with open_entries([parent, result.path], threads=config.threads) as entries:
        write_report(out, page, entries, dataset.split(config.eval_split), GateVerdict(result.violations, layers))
    _LOG.info("Report: %s", out)
