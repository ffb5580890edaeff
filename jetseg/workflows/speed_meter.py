"""How fast torch networks are on a backend: the bridge between pruning and engines, which meet only in files."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from jetseg.artifact_file import save_onnx
from jetseg.config import changed
from jetseg.engine.backend import find_backend
from jetseg.engine.layer_timer import LayerTimer, quiet_latencies_ms
from jetseg.manifest import Manifest, Precision
from jetseg.network import Network, open_network
from jetseg.onnx.layer_shape import Piece
from jetseg.storage import scratch_folder

if TYPE_CHECKING:
    import onnx
    from torch import nn

    from jetseg.compress.config import FactorizeConfig, PruneConfig, SpeedSettings
    from jetseg.engine.engine import Engine
    from jetseg.exporters.structure import NetworkStructure
    from jetseg.latency.estimate import LatencyEstimate
    from jetseg.latency.predictor import TablePredictor

_ROUNDS = 10
_TURN_SECONDS = 0.06
_MOST_STRUCTURES = 4
_structures: dict[str, NetworkStructure] = {}
"""Structures of the networks that were timed last, without weights: trials of a search prune the same few again."""


def speed_meter(network: Network, config: PruneConfig) -> BackendMeter | TableMeter | None:
    """Returns what measures or predicts the speed that pruning is to reach; None where it is told how much to remove.

    Raises:
        ConfigError: A latency table is of another device, power mode, backend, version or precision.
    """
    if not config.wants_speed:
        return None
    if config.latency_table is not None:
        return _table_meter(network, config, config.latency_table)
    _check_backend(config)
    return BackendMeter(network.manifest, config.backend, config.precision, config.threads)


def layer_timer(config: FactorizeConfig) -> LayerTimer | None:
    """Returns what times layers before and after they are factorized; None where only size matters."""
    if config.size_only:
        return None
    _check_backend(config)
    return LayerTimer(config.backend, config.precision, config.threads)


def _check_backend(config: SpeedSettings) -> None:
    """Refuses a backend that cannot build or run here, before the network is looked at."""
    backend = find_backend(config.backend)
    backend.check(config.precision, backend.options())


@dataclass
class BackendMeter:
    """Exports networks, builds engines of a precision and runs these in turn; a `jetseg.compress.speed.SpeedMeter`.

    Attributes:
        manifest: Describes the network that all others are made from.
        backend: A name of `jetseg.registry.BACKENDS`.
        precision: Precision of the engines.
        threads: Threads of a CPU backend.
        cache: Where latencies of layers are kept; by default the user's cache folder.
    """

    manifest: Manifest
    backend: str = "onnxruntime"
    precision: Precision = "fp32"
    threads: int = 1
    cache: Path | None = None
    source: str = field(default="measured", init=False)
    _first: tuple[nn.Module, onnx.ModelProto] | None = field(default=None, init=False, repr=False)

    def layers_ms(self, pieces: Sequence[Piece]) -> list[float]:
        """Returns the latency of pieces of a network, in milliseconds; see `jetseg.engine.layer_timer`."""
        return LayerTimer(self.backend, self.precision, self.threads, self.cache)(pieces)

    def networks_ms(self, networks: Sequence[nn.Module]) -> list[float]:
        """Runs whole networks in turn; returns the milliseconds of the fastest run of each."""
        from jetseg.evaluation.benchmark import inference_on_noise

        with scratch_folder("jetseg-speed-") as folder, ExitStack() as opened:
            runners = [
                self._open(self._exported(network), folder / f"{index}.onnx", opened)
                for index, network in enumerate(networks)
            ]
            calls = {str(index): inference_on_noise(runner) for index, runner in enumerate(runners)}
            clock = find_backend(self.backend).clock(self.threads)
            latencies_ms = quiet_latencies_ms(calls, rounds=_ROUNDS, seconds=_TURN_SECONDS, clock=clock)
        return list(latencies_ms.values())

    def _exported(self, module: nn.Module) -> onnx.ModelProto:
        """Exports a network; the first one, with which all are compared, once only."""
        if self._first is None:
            self._first = (module, _export(module, self.manifest))
        return self._first[1] if module is self._first[0] else _export(module, self.manifest)

    def _open(self, model: onnx.ModelProto, path: Path, opened: ExitStack) -> Engine:
        from jetseg.engine.timing import open_for_timing

        manifest = _normalized(self.manifest)
        runner = open_for_timing(model, manifest, path, self.backend, self.precision, self.threads)
        opened.callback(runner.close)
        return runner


@dataclass
class TableMeter:
    """Predicts what would be measured on another device; a `jetseg.compress.speed.SpeedMeter`.

    Attributes:
        manifest: Describes the network that all others are made from.
        predictor: Learned from the device's table.
    """

    manifest: Manifest
    predictor: TablePredictor
    _last: LatencyEstimate | None = field(default=None, init=False, repr=False)

    @property
    def source(self) -> str:
        """Tells the device, and the interval of the last network."""
        if self._last is None:
            return "predicted"
        last = self._last
        return (
            f"predicted for {last.device}, from a table: {last.coverage} of 100 are between {last.low:.2f} and "
            f"{last.high:.2f} ms"
        )

    def layers_ms(self, pieces: Sequence[Piece]) -> list[float]:
        """Returns the latency of pieces of a network, in milliseconds."""
        return self.predictor.layers_ms(pieces)

    def networks_ms(self, networks: Sequence[nn.Module]) -> list[float]:
        """Returns the latency of whole networks, in milliseconds."""
        found = []
        for network in networks:
            self._last = self._predict(network)
            found.append(self._last.latency_ms)
        return found

    def _predict(self, module: nn.Module) -> LatencyEstimate:
        predictor = self.predictor
        with scratch_folder("jetseg-speed-") as folder:
            path = folder / "network.onnx"
            manifest = _normalized(self.manifest).changed(kind="onnx", parity=None)
            save_onnx(path, _export(module, self.manifest), manifest)
            return predictor.network(find_backend(predictor.backend).units(open_network(path), predictor.precision))


def _table_meter(network: Network, config: PruneConfig, table: Path) -> TableMeter:
    from jetseg.workflows.latency import open_table

    threads = config.threads if "threads" in config.model_fields_set else None
    predictor = open_table(
        table, target=config.target, backend=config.backend, precision=config.precision, threads=threads
    )
    return TableMeter(network.manifest, predictor)


def _export(module: nn.Module, manifest: Manifest) -> onnx.ModelProto:
    """Exports a network; torch's exporter runs but once for all that are alike but for weights and channels."""
    from jetseg.exporters.onnx_export import example_input
    from jetseg.exporters.structure import NetworkStructure

    spec = _normalized(manifest).input
    made_by = "" if manifest.model is None else manifest.model.model_dump_json(exclude={"removed", "stated_sizes"})
    key = "\n".join((spec.model_dump_json(), made_by, *module.state_dict()))
    structure = _structures.pop(key, None) or NetworkStructure(module.eval(), example_input(spec), "logits")
    _structures[key] = structure  # now the last one to go
    while len(_structures) > _MOST_STRUCTURES:
        del _structures[next(iter(_structures))]
    return structure.export(module.eval())


def _normalized(manifest: Manifest) -> Manifest:
    spec = changed(manifest.input, kind="normalized", name=None)
    return manifest.changed(input=spec).with_output(kind="logits")
