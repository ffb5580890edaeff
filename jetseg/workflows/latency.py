"""Measures what operators take on this device, and predicts what networks take on others."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetseg.config import validate_config
from jetseg.engine.backend import find_backend
from jetseg.engine.measuring import measure_network
from jetseg.errors import ConfigError
from jetseg.kit.opening import is_kit, open_kit
from jetseg.kit.signature import key_in_force
from jetseg.latency.config import MeasureLayersConfig
from jetseg.latency.estimate import LatencyEstimate, LatencyModel
from jetseg.latency.roofline import Roofline
from jetseg.latency.table import LatencyTable, TableDraft, WantedDevice, check_table, read_table, write_table
from jetseg.manifest import Precision
from jetseg.monitor.host import read_power_mode
from jetseg.network import Network
from jetseg.progress import ProgressCallback, report_progress, track
from jetseg.provenance import device_name, read_board, toolchain
from jetseg.storage import check_output
from jetseg.targets import TARGETS, find_target, recognize_target
from jetseg.workflows.opening import as_network

if TYPE_CHECKING:
    from jetseg.latency.predictor import TablePredictor


def measure_layers(
    networks: Sequence[Network | Path | str] = (),
    *,
    out: Path | str,
    key: Path | str | None = None,
    progress: ProgressCallback | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> LatencyTable:
    """Measures the operators of networks on this device, and writes them to a table; goes on with one that is there.

    Args:
        networks: Float ONNX files, and kits of `jetseg pack`, whose networks they are; further ones are drawn at
            random, as many as the setting `sweep` says.
        out: Table to write.
        key: Public key of minisign that the kits must be signed with; see `jetseg.kit.signature.key_in_force`.
        progress: Is told how the work goes on.
        settings: Fields of `jetseg.latency.config.MeasureLayersConfig`: backend, precision, threads, sweep, seed.
    """
    config = validate_config(MeasureLayersConfig, settings)
    place = Path(out)
    check_output(place, ".json")
    backend = find_backend(config.backend)
    backend.check(config.precision, backend.options())
    drawn = {f"drawn {seed}": seed for seed in range(config.seed, config.seed + config.sweep)}
    if not networks and not drawn:
        raise ConfigError("There is nothing to measure.", "Name networks, or let `sweep` draw some.")
    draft = TableDraft(_begun(place, config))
    with report_progress(progress), ExitStack() as kits:
        opened = {
            f"{network.name} {network.sha256[:12]}": network
            for network in (_opened(given, key_in_force(key), kits) for given in networks)
        }
        for name in track([name for name in (*opened, *drawn) if name not in draft], "Measuring networks"):
            network = opened.get(name) or drawn[name]
            found = measure_network(network, config.backend, config.precision, config.threads)
            draft.add(name, found.ms, found.steps)
            write_table(place, draft.table())
    return read_table(place)


def _opened(given: Network | Path | str, key: Path | None, kits: ExitStack) -> Network:
    """Opens a network; that of a kit is there until `kits` is closed."""
    if isinstance(given, Network) or not is_kit(Path(given)):
        return as_network(given)
    return kits.enter_context(open_kit(Path(given), key=key)).network


def _begun(place: Path, config: MeasureLayersConfig) -> LatencyTable:
    """Returns the table that an interrupted run left, or a new one.

    Raises:
        ConfigError: The one that is there is of another device, backend or precision.
    """
    board, memory = read_board()
    mode = read_power_mode()
    target = recognize_target(board, memory, mode) if config.backend.startswith("tensorrt") else TARGETS["cpu"]
    identity: dict[str, Any] = {
        "target": target and target.name,
        "device": board or device_name(),
        "power_mode": mode,
        "backend": config.backend,
        "version": toolchain().get(config.backend, "unknown"),
        "precision": config.precision,
        "threads": config.threads,
    }
    if not place.exists():
        return LatencyTable(**identity, units=(), networks=())
    table = read_table(place)
    check_table(table, WantedDevice(**identity))
    return table


def open_latency_model(
    *,
    table: LatencyTable | Path | str | None = None,
    target: str | None = None,
    backend: str | None = None,
    precision: Precision | None = None,
    threads: int | None = None,
) -> LatencyModel:
    """Opens what predicts latencies: a table, checked against what is asked, or without one a target's roofline.

    Learning from a table takes some seconds, so open it once for many networks.

    Args:
        table: Latency table of the device.
        target: Device by name.
        backend: Backend that is asked for; by default the table's.
        precision: Precision that is asked for; by default the table's, and fp16 for a roofline.
        threads: Threads of a CPU backend that are asked for; by default the table's.

    Raises:
        ConfigError: Neither is given, or the table is of another device, power mode, backend, version or precision.
        MissingDependencyError: A table needs scikit-learn.
    """
    if table is None:
        if target is None:
            raise ConfigError("There is nothing to predict from.", "Give a latency `table`, or name a `target`.")
        return Roofline(find_target(target), precision or "fp16")
    return open_table(table, target=target, backend=backend, precision=precision, threads=threads)


def open_table(
    table: LatencyTable | Path | str,
    *,
    target: str | None = None,
    backend: str | None = None,
    precision: Precision | None = None,
    threads: int | None = None,
) -> TablePredictor:
    """Learns from a table, which is checked against what is asked; see `open_latency_model`."""
    opened = table if isinstance(table, LatencyTable) else read_table(Path(table))
    here = {"device": device_name(), "version": toolchain().get(opened.backend)} if target == "cpu" else {}
    check_table(opened, WantedDevice(target=target, backend=backend, precision=precision, threads=threads, **here))
    from jetseg.latency.predictor import TablePredictor

    return TablePredictor(opened)


def predict_latency(
    network: Network | Path | str,
    *,
    table: LatencyTable | Path | str | None = None,
    target: str | None = None,
    model: LatencyModel | None = None,
    backend: str | None = None,
    precision: Precision | None = None,
    threads: int | None = None,
) -> LatencyEstimate:
    """Predicts the latency of a float ONNX file, or of an engine, on a device that need not be here.

    Args:
        network: The network, opened or by its path.
        table: As in `open_latency_model`, and so are the others.
        target: Device by name.
        model: What `open_latency_model` returned, in place of all others.
        backend: Backend that is asked for.
        precision: Precision that is asked for.
        threads: Threads of a CPU backend that are asked for.

    Returns:
        The latency with its interval: `latency_ms`, `low`, `high`.

    Raises:
        ConfigError: As `open_latency_model`; or the engine is of another precision than the prediction.
        JetsegError: The network is damaged, or the backend cannot build it.
    """
    opened = as_network(network)
    if model is None:
        built = opened.manifest.precision if opened.manifest.kind == "engine" else None
        model = open_latency_model(
            table=table, target=target, backend=backend, precision=precision or built, threads=threads
        )
    return model.network(find_backend(model.backend).units(opened, model.precision))
