"""Measures torch networks on a backend: the bridge between pruning and the engines, which meet only in files."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from jetseg.config import changed
from jetseg.engine.backend import find_backend
from jetseg.engine.layer_timer import LayerTimer, quiet_latencies_ms
from jetseg.manifest import Manifest, Precision
from jetseg.network import Network
from jetseg.onnx.layer_shape import Piece

if TYPE_CHECKING:
    import onnx
    from torch import nn

    from jetseg.compress.config import FactorizeConfig, PruneConfig, SpeedSettings
    from jetseg.engine.engine import Engine

_ROUNDS = 10
_TURN_SECONDS = 0.06


def speed_meter(network: Network, config: PruneConfig) -> BackendMeter | None:
    """Returns what measures the speed that pruning is to reach; None where it is told how much to remove."""
    if not config.wants_speed:
        return None
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
    _first: tuple[nn.Module, onnx.ModelProto] | None = field(default=None, init=False, repr=False)

    def layers_ms(self, pieces: Sequence[Piece]) -> list[float]:
        """Returns the latency of pieces of a network, in milliseconds; see `jetseg.engine.layer_timer`."""
        return LayerTimer(self.backend, self.precision, self.threads, self.cache)(pieces)

    def networks_ms(self, networks: Sequence[nn.Module]) -> list[float]:
        """Runs whole networks in turn; returns the milliseconds of the fastest run of each."""
        from jetseg.evaluation.benchmark import inference_on_noise

        with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
            runners = [
                self._open(self._exported(network), Path(folder) / f"{index}.onnx", opened)
                for index, network in enumerate(networks)
            ]
            calls = {str(index): inference_on_noise(runner) for index, runner in enumerate(runners)}
            clock = find_backend(self.backend).clock(self.threads)
            latencies_ms = quiet_latencies_ms(calls, rounds=_ROUNDS, seconds=_TURN_SECONDS, clock=clock)
        return list(latencies_ms.values())

    def _exported(self, module: nn.Module) -> onnx.ModelProto:
        """Exports a network; the first one, with which all are compared, once only."""
        if self._first is None:
            self._first = (module, self._export(module))
        return self._first[1] if module is self._first[0] else self._export(module)

    def _export(self, module: nn.Module) -> onnx.ModelProto:
        from jetseg.exporters.onnx_export import example_input, export_module

        return export_module(module.eval(), example_input(self._normalized().input), "logits")

    def _open(self, model: onnx.ModelProto, path: Path, opened: ExitStack) -> Engine:
        from jetseg.engine.timing import open_for_timing

        runner = open_for_timing(model, self._normalized(), path, self.backend, self.precision, self.threads)
        opened.callback(runner.close)
        return runner

    def _normalized(self) -> Manifest:
        spec = changed(self.manifest.input, kind="normalized", name=None)
        return self.manifest.changed(input=spec).with_output(kind="logits")
