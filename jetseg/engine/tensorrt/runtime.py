"""Runs TensorRT engines: one context, one stream, and buffers that are allocated once."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from jetseg.engine.tensorrt.gpu import Gpu
from jetseg.engine.tensorrt.layers import make_runtime
from jetseg.engine.tensorrt.library import load_tensorrt
from jetseg.engine.tensorrt.log import make_log
from jetseg.engine.tensorrt.options import recorded_options
from jetseg.engine.tensorrt.origin import check_origin
from jetseg.engine.tensorrt.slots import Buffer, Slot
from jetseg.errors import ArtifactError, DeviceError, JetsegError, ManifestError
from jetseg.manifest import Manifest
from jetseg.ports import fits, input_shape, pick_port
from jetseg.preprocess import NetworkInput

MAX_IN_FLIGHT = 2


def open_runner(path: Path, manifest: Manifest, *, threads: int | None = None) -> TensorRtRunner:
    """Opens an engine; see `jetseg.engine.opening.open_runner`.

    Raises:
        ArtifactError: It was built for another GPU or TensorRT, or is damaged.
        ManifestError: Its input or output is not what the manifest says.
        DeviceError: There is no GPU, or its memory does not suffice.
        MissingDependencyError: TensorRT or pycuda is not installed.
    """
    del threads
    return TensorRtRunner(path, manifest)


class TensorRtRunner:
    """An engine on the GPU; see `jetseg.engine.contract.Runner`.

    Args:
        path: Engine file.
        manifest: Its manifest.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.manifest = manifest
        self.path = path
        self._slots: list[Slot] = []
        self._in_flight: deque[Slot] = deque()
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        trt = load_tensorrt()
        self._gpu: Gpu | None = Gpu()
        try:
            check_origin(path, manifest, str(trt.__version__), self._gpu.facts.label)
            with self._gpu.active():
                self._open(trt, self._gpu)
        except BaseException:
            self.close()
            raise

    def infer(self, network_input: NetworkInput) -> npt.NDArray[Any]:
        """Runs the network; see `jetseg.engine.contract.Runner.infer`. Not while frames are in flight."""
        if self._in_flight:
            raise RuntimeError("infer was called while submitted frames were in flight")
        self.submit(network_input)
        return self.collect()

    def submit(self, network_input: NetworkInput) -> None:
        """Queues a frame and returns at once; `collect` gives the results in the same order.

        With two frames in flight, the copies of one run while the network works on the other. There may be no more.

        Args:
            network_input: As for `infer`.
        """
        if self._gpu is None:
            raise ArtifactError(f"{self.path} was closed.")
        if len(self._in_flight) == MAX_IN_FLIGHT:
            raise RuntimeError(f"{MAX_IN_FLIGHT} frames are in flight; collect one first")
        with self._gpu.active():
            slot = next((slot for slot in self._slots if slot not in self._in_flight), None) or self._new_slot(
                self._gpu
            )
            np.copyto(slot.buffers[self._input].host, network_input)
            slot.buffers[self._input].upload(slot.stream)
            if self._in_flight:  # one context: one inference at a time
                slot.stream.wait_for_event(self._in_flight[-1].computed)
            if len(self._slots) > 1:
                self._use(slot)
            if not self._context.execute_async_v3(slot.stream.handle):
                raise self._failed("TensorRT failed while running the network")
            slot.computed.record(slot.stream)
            slot.buffers[self._output].download(slot.stream)
        self._in_flight.append(slot)

    def collect(self) -> npt.NDArray[Any]:
        """Waits for the oldest submitted frame; its output stays as it is until the next but one is submitted."""
        if self._gpu is None:
            raise ArtifactError(f"{self.path} was closed.")
        if not self._in_flight:
            raise RuntimeError("no frame was submitted")
        slot = self._in_flight.popleft()
        with self._gpu.active():
            slot.stream.synchronize()
        return slot.buffers[self._output].host

    def close(self) -> None:
        """Frees the engine, the device's memory and the GPU's context. May be called twice."""
        gpu, self._gpu = self._gpu, None
        if gpu is None:
            return
        # a context that CUDA gave up cannot be tidied, and takes its memory with it
        with suppress(JetsegError), gpu.active():
            for slot in self._in_flight:
                slot.stream.synchronize()
            self._context = self._engine = self._runtime = None
            for slot in self._slots:
                slot.free()
        self._in_flight.clear()
        self._slots.clear()
        gpu.close()

    def _open(self, trt: ModuleType, gpu: Gpu) -> None:
        self._log = make_log(trt)
        options = recorded_options(self.path, self.manifest)
        self._mapped = options.memory == "mapped"
        self._runtime = make_runtime(trt, self._log, options)
        engine = self._engine = self._runtime.deserialize_cuda_engine(self.path.read_bytes())
        if engine is None:
            raise ArtifactError(f"{self.path} is no engine that TensorRT {trt.__version__} opens.{self._said()}")
        self._choose_ports(trt, engine)
        context = self._context = engine.create_execution_context()
        if context is None:
            raise self._failed("The engine's memory could not be allocated")
        if -1 in tuple(engine.get_tensor_shape(self._input)):
            context.set_input_shape(self._input, input_shape(self.manifest.input))
        self._types = {name: np.dtype(trt.nptype(engine.get_tensor_dtype(name))) for name in _names(engine)}
        self._use(self._new_slot(gpu))

    def _new_slot(self, gpu: Gpu) -> Slot:
        """Allocates what one more frame in flight needs."""
        slot = Slot(gpu)
        self._slots.append(slot)
        for name, dtype in self._types.items():
            slot.buffers[name] = Buffer(gpu, tuple(self._context.get_tensor_shape(name)), dtype, mapped=self._mapped)
        return slot

    def _use(self, slot: Slot) -> None:
        """Lets the next inference read and write a slot's memory."""
        for name, buffer in slot.buffers.items():
            if not self._context.set_tensor_address(name, buffer.address):
                raise self._failed(f"TensorRT does not take the memory for {name}")

    def _choose_ports(self, trt: ModuleType, engine: Any) -> None:  # noqa: ANN401
        """Finds the input and the output that the manifest means, and checks the input against it."""
        spec = self.manifest.input
        inputs = [name for name in _names(engine) if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        outputs = [name for name in _names(engine) if name not in inputs]
        if len(inputs) > 1:
            raise ManifestError(f"{self.path} has {len(inputs)} inputs, and a camera feeds one.", "Export it again.")
        self._input = pick_port(self.path, "input", inputs, spec.name)
        self._output = pick_port(self.path, "output", outputs, self.manifest.output.name)
        shape, dtype = tuple(engine.get_tensor_shape(self._input)), engine.get_tensor_dtype(self._input)
        expected = trt.DataType.UINT8 if spec.kind == "frame" else trt.DataType.FLOAT
        if dtype != expected or not fits(shape, input_shape(spec)):
            raise ManifestError(
                f"{self.path}: input {self._input} is {dtype} of shape {list(shape)}, but the manifest says {expected} "
                f"of shape {list(input_shape(spec))} (input.kind {spec.kind}).",
                "Correct `input` in the manifest.",
            )

    def _failed(self, what: str) -> DeviceError:
        return DeviceError(f"{what}.{self._said()}", "If memory is short, close other programs and try again.")

    def _said(self) -> str:
        return f" It says: {self._log.errors[-1].splitlines()[0]}" if self._log.errors else ""


def _names(engine: Any) -> list[str]:  # noqa: ANN401
    """Returns an engine's inputs and outputs."""
    return [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
