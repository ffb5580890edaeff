"""Runs TensorRT engines: one context, one stream, and buffers that are allocated once."""

from __future__ import annotations

from contextlib import suppress
from itertools import chain
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from jetseg.engine.backend import StepTime
from jetseg.engine.lending import Lending
from jetseg.engine.tensorrt.gpu import Buffer, Gpu, Stream
from jetseg.engine.tensorrt.layers import make_runtime
from jetseg.engine.tensorrt.library import load_tensorrt
from jetseg.engine.tensorrt.log import make_log
from jetseg.engine.tensorrt.options import recorded_options
from jetseg.engine.tensorrt.origin import check_origin
from jetseg.engine.tensorrt.step_times import make_stopwatch, read_steps
from jetseg.errors import ArtifactError, DeviceError, JetsegError, ManifestError
from jetseg.network import Network
from jetseg.onnx.signature import check_input, input_shape, pick_tensor
from jetseg.output_shape import check_output
from jetseg.preprocess import NetworkInput


class TensorRtRunner:
    """An engine on the GPU; see `jetseg.engine.backend.Runner`.

    Args:
        network: Engine file, opened.

    Raises:
        ArtifactError: It was built for another GPU or TensorRT, or is damaged.
        ManifestError: Its input or output is not what the manifest says.
        DeviceError: There is no GPU, or its memory does not suffice.
        MissingDependencyError: TensorRT or pycuda is not installed.
    """

    def __init__(self, network: Network) -> None:
        self.manifest = network.manifest
        self.path = network.path
        self._network = network
        self._buffers: dict[str, list[Buffer]] = {}
        self._lending: dict[str, Lending[Buffer]] = {}
        self._stream: Stream | None = None
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        trt = load_tensorrt()
        self._gpu: Gpu | None = Gpu()
        try:
            check_origin(self.path, self.manifest, str(trt.__version__), self._gpu.facts.label)
            with self._gpu.active():
                self._open(trt, self._gpu)
        except BaseException:
            self.close()
            raise

    def infer(self, network_input: NetworkInput) -> npt.NDArray[Any]:
        """Runs the network; see `jetseg.engine.backend.Runner.infer`."""
        return self._run(network_input, self._outputs[:1])[0]

    def infer_all(self, network_input: NetworkInput) -> list[npt.NDArray[Any]]:
        """Runs the network; see `jetseg.engine.backend.SeveralOutputs`."""
        return self._run(network_input, self._outputs)

    def _run(self, network_input: NetworkInput, outputs: list[str]) -> list[npt.NDArray[Any]]:
        if self._gpu is None or (stream := self._stream) is None:
            raise ArtifactError(f"{self.path} was closed.")
        source, lending = self._buffers[self._input][0], [self._lending[name] for name in outputs]
        np.copyto(source.host, network_input)
        with self._gpu.active():
            source.upload(stream)
            for name, buffers in self._lending.items():
                self._set_address(name, buffers.choose())
            if not self._context.execute_async_v3(stream.handle):
                raise self._failed("TensorRT failed while running the network")
            for buffers in lending:
                buffers.target.download(stream)
            stream.synchronize()
        return [buffers.lend() for buffers in lending]

    def step_times(self, network_input: NetworkInput, runs: int) -> list[StepTime]:
        """Runs the network so often, and returns the fastest run of each of its layers, in order of execution."""
        trt, context, engine = load_tensorrt(), self._context, self._engine
        context.profiler = stopwatch = make_stopwatch(trt)  # reports of itself when the stream is synchronized
        for _ in range(runs):
            self.infer(network_input)
        inspector = engine.create_engine_inspector()
        return read_steps(inspector.get_engine_information(trt.LayerInformationFormat.JSON), stopwatch.fastest)

    def close(self) -> None:
        """Frees the engine, the device's memory and the GPU's context. May be called twice."""
        gpu, self._gpu = self._gpu, None
        if gpu is None:
            return
        # a context that CUDA gave up cannot be tidied, and takes its memory with it
        with suppress(JetsegError), gpu.active():
            if self._stream is not None:
                self._stream.synchronize()  # after an error a copy may still be under way
        with suppress(JetsegError), gpu.active():
            self._context = self._engine = self._runtime = None
            for owned in (*chain(*self._buffers.values()), *((self._stream,) if self._stream else ())):
                owned.free()
        self._buffers.clear()
        self._lending.clear()
        gpu.close()

    def _open(self, trt: ModuleType, gpu: Gpu) -> None:
        self._log = make_log(trt)
        options = recorded_options(self.path, self.manifest)
        self._runtime = make_runtime(trt, self._log, options)
        engine = self._engine = self._runtime.deserialize_cuda_engine(self._network.read())
        if engine is None:
            raise ArtifactError(f"{self.path} is no engine that TensorRT {trt.__version__} opens.{self._said()}")
        self._choose_input_and_outputs(trt, engine)
        context = self._context = engine.create_execution_context()
        if context is None:
            raise self._failed("The engine's memory could not be allocated")
        if -1 in tuple(engine.get_tensor_shape(self._input)):
            context.set_input_shape(self._input, input_shape(self.manifest.input))
        self._stream, mapped = gpu.stream(), options.memory == "mapped"
        for name in _names(engine):
            shape, dtype = tuple(context.get_tensor_shape(name)), np.dtype(trt.nptype(engine.get_tensor_dtype(name)))
            buffers = self._buffers[name] = []
            for _ in range(2 if name in self._outputs else 1):
                buffers.append(gpu.buffer(shape, dtype, mapped=mapped))  # noqa: PERF401 - or the first would be lost
            if name in self._outputs:
                self._lending[name] = Lending(*buffers)
            self._set_address(name, buffers[0])

    def _set_address(self, name: str, buffer: Buffer) -> None:
        if not self._context.set_tensor_address(name, buffer.address):
            raise self._failed(f"TensorRT does not take the memory for {name}")

    def _choose_input_and_outputs(self, trt: ModuleType, engine: Any) -> None:  # noqa: ANN401
        """Finds the input and the outputs that the manifest means, and checks them against it."""
        spec = self.manifest.input
        inputs = [name for name in _names(engine) if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        outputs = [name for name in _names(engine) if name not in inputs]
        if len(inputs) > 1:
            raise ManifestError(f"{self.path} has {len(inputs)} inputs, and a camera feeds one.", "Export it again.")
        self._input = pick_tensor(self.path, "input", inputs, spec.name)
        self._outputs = [pick_tensor(self.path, "output", outputs, output.name) for output in self.manifest.outputs]
        shape, dtype = tuple(engine.get_tensor_shape(self._input)), engine.get_tensor_dtype(self._input)
        expected = trt.DataType.UINT8 if spec.kind == "frame" else trt.DataType.FLOAT
        check_input(self.path, self._input, dtype, shape, expected, spec)
        for name, task in zip(self._outputs, self.manifest.tasks, strict=True):
            shape, dtype = tuple(engine.get_tensor_shape(name)), engine.get_tensor_dtype(name)
            check_output(f"{self.path}: output {name}", shape, trt.nptype(dtype), task)

    def _failed(self, what: str) -> DeviceError:
        return DeviceError(f"{what}.{self._said()}", "If memory is short, close other programs and try again.")

    def _said(self) -> str:
        return f" It says: {self._log.errors[-1].splitlines()[0]}" if self._log.errors else ""


def _names(engine: Any) -> list[str]:  # noqa: ANN401
    """Returns an engine's inputs and outputs."""
    return [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
