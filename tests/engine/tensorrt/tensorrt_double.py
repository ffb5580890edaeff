"""A double of TensorRT and of pycuda: the parts of their interfaces that jetseg uses, inference by ONNX Runtime.

It is stricter than the originals where a mistake would be silent there: copies and inference only happen when the
stream is synchronized, every call on the GPU needs a current context in its thread, and objects take no attributes
that TensorRT's lack. `test_tensorrt_api` holds its names against NVIDIA's.
"""

from __future__ import annotations

import ctypes
import enum
import json
import threading
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import numpy as np
import onnx
from cuda_double import make_cuda

MAGIC = b"plan of a double\n"
GPU_LABEL = "Double GPU (sm_87)"


class Double:
    """The two modules, and what happened in them.

    Attributes:
        trt: The double of `tensorrt`.
        cuda: The double of `pycuda.driver`.
        events: Names of calls, in order.
        failing: Calls that shall fail, by name.
        free_bytes: What `mem_get_info` tells.
        distrust_cache: Calibration caches are ignored, as TensorRT does with one of another version.
        swallowed: What callbacks raised and the double kept to itself, as TensorRT does.
        settings: The settings of the last build.
        flags: The flags of the last network.
        dla_cores: How many the device offers.
        on_dla: Operators that the inspector reports on the DLA.
        runtime: The last runtime.
    """

    def __init__(self, version: str = "10.3.0") -> None:
        self.events: list[str] = []
        self.failing: set[str] = set()
        self.free_bytes = 4 << 30
        self.distrust_cache = False
        self.swallowed: list[Exception] = []
        self.settings = None
        self.flags = None
        self.dla_cores = 2
        self.on_dla: set[str] = set()
        self.runtime = None
        self.memory: dict[int, np.ndarray] = {}
        self.contexts = 0
        self.current = threading.local()
        self.cuda = make_cuda(self)
        self.trt = make_tensorrt(self, version)

    def array_at(self, address: int, dtype: np.dtype, shape: list[int]) -> np.ndarray:
        """Returns what the device's memory holds at an address."""
        return self.memory[address].view(dtype).reshape(shape)

    def launch(self, stream_handle: int, work: Callable[[], None]) -> None:
        """Gives a stream something to do."""
        self.streams[stream_handle].queue.append(work)

    def happened(self, name: str) -> bool:
        """Notes a call; tells whether it shall succeed."""
        self.events.append(name)
        return name not in self.failing


def make_tensorrt(double: Double, version: str) -> ModuleType:
    """Makes the double of `tensorrt` in a version."""
    trt = ModuleType("tensorrt")
    trt.__version__ = version
    trt.__spec__ = ModuleSpec("tensorrt", None)  # torch asks each optional library for it
    calibrators = int(version.split(".", maxsplit=1)[0]) < 11
    _add_enums(trt, calibrators, version)
    _add_building(trt, double, calibrators)
    _add_running(trt, double)
    return trt


def _add_enums(trt, calibrators: bool, version: str) -> None:
    flags = ["TF32", "SPARSE_WEIGHTS", "VERSION_COMPATIBLE", "GPU_FALLBACK", *(["INT8", "FP16"] if calibrators else [])]
    trt.BuilderFlag = enum.IntEnum("BuilderFlag", flags)
    trt.NetworkDefinitionCreationFlag = enum.IntEnum(
        "NetworkDefinitionCreationFlag", {"STRONGLY_TYPED": int(calibrators)}
    )
    trt.MemoryPoolType = enum.IntEnum("MemoryPoolType", {"WORKSPACE": 0})
    trt.ProfilingVerbosity = enum.IntEnum("ProfilingVerbosity", {"LAYER_NAMES_ONLY": 0, "NONE": 1, "DETAILED": 2})
    levels = {"NONE": 0, "AMPERE_PLUS": 1, **({} if version.startswith("10.3.") else {"SAME_COMPUTE_CAPABILITY": 2})}
    trt.HardwareCompatibilityLevel = enum.IntEnum("HardwareCompatibilityLevel", levels)
    trt.DeviceType = enum.IntEnum("DeviceType", {"GPU": 0, "DLA": 1})
    trt.LayerInformationFormat = enum.IntEnum("LayerInformationFormat", {"ONELINE": 0, "JSON": 1})
    trt.TensorIOMode = enum.IntEnum("TensorIOMode", {"NONE": 0, "INPUT": 1, "OUTPUT": 2})
    trt.DataType = enum.IntEnum("DataType", {"FLOAT": 0, "HALF": 1, "INT8": 2, "INT32": 3, "UINT8": 5, "INT64": 8})
    types = {"FLOAT": "f4", "HALF": "f2", "INT8": "i1", "INT32": "i4", "UINT8": "u1", "INT64": "i8"}
    trt.nptype = lambda dtype: np.dtype(types[dtype.name]).type

    class ILogger:
        INTERNAL_ERROR, ERROR, WARNING, INFO = range(4)

    class IProgressMonitor:
        pass

    trt.ILogger, trt.IProgressMonitor = ILogger, IProgressMonitor
    if calibrators:
        trt.IInt8EntropyCalibrator2 = type("IInt8EntropyCalibrator2", (), {})


def _add_building(trt, double: Double, calibrators: bool) -> None:  # noqa: C901 - many small classes
    class INetworkDefinition:
        __slots__ = ("_model",)

    class ParserError:
        def __init__(self, index, node):
            self._index, self._node = index, node

        def desc(self):
            return 'creator && "Plugin not found, are the plugin name, version, and namespace correct?"'

        def node(self):
            return self._index

        def node_name(self):
            return self._node.name

        def node_operator(self):
            return self._node.op_type

    class OnnxParser:
        __slots__ = ("_errors", "_network")

        def __init__(self, network, logger):
            assert isinstance(logger, trt.ILogger)
            self._network, self._errors = network, []

        def parse(self, content):
            self._network._model = onnx.load_from_string(content)
            nodes = enumerate(self._network._model.graph.node)
            self._errors = [ParserError(index, node) for index, node in nodes if node.op_type == "Frobnicate"]
            return not self._errors

        @property
        def num_errors(self):
            return len(self._errors)

        def get_error(self, index):
            return self._errors[index]

    class ITimingCache:
        __slots__ = ("_content",)

        def __init__(self, content):
            self._content = content

        def serialize(self):
            return self._content + b"timed "

    class IOptimizationProfile:
        __slots__ = ("_shapes",)

        def __init__(self):
            self._shapes = {}

        def set_shape(self, input, min, opt, max):  # noqa: A002 - TensorRT's names
            self._shapes[input] = (min, opt, max)

    class IBuilderConfig:
        __slots__ = (
            "DLA_core",
            "_cache",
            "_flags",
            "_pools",
            "_profiles",
            "builder_optimization_level",
            "default_device_type",
            "hardware_compatibility_level",
            "profiling_verbosity",
            "progress_monitor",
        )
        if calibrators:
            __slots__ += ("int8_calibrator",)

        def __init__(self):
            self._flags, self._pools, self._cache, self.progress_monitor = {trt.BuilderFlag.TF32}, {}, None, None
            self._profiles, self.default_device_type = [], trt.DeviceType.GPU

        def add_optimization_profile(self, profile):
            self._profiles.append(profile)
            return len(self._profiles) - 1

        def set_flag(self, flag):
            self._flags.add(flag)

        def clear_flag(self, flag):
            self._flags.discard(flag)

        def set_memory_pool_limit(self, pool, size):
            self._pools[pool] = size

        def create_timing_cache(self, content):
            return None if content.startswith(b"damaged") else ITimingCache(content)

        def set_timing_cache(self, cache, ignore_mismatch):
            self._cache = cache
            return True

        def get_timing_cache(self):
            return self._cache

    class Builder:
        __slots__ = ("_logger",)

        def __init__(self, logger):
            double.happened("Builder")
            self._logger = logger

        def create_network(self, flags=0):
            double.flags = flags
            return INetworkDefinition()

        def create_optimization_profile(self):
            return IOptimizationProfile()

        def create_builder_config(self):
            double.settings = IBuilderConfig()
            return double.settings

        def build_serialized_network(self, network, settings):
            open_sizes = any(
                not dim.HasField("dim_value")
                for port in network._model.graph.input
                for dim in port.type.tensor_type.shape.dim
            )
            if open_sizes and not settings._profiles:
                self._logger.log(
                    trt.ILogger.ERROR, "Network has dynamic inputs, but no optimization profile has been defined."
                )
                return None
            monitor = settings.progress_monitor
            monitor.phase_start("Building engine", None, 2)
            monitor.phase_start("Timing tactics", "Building engine", 1)
            if calibrators and trt.BuilderFlag.INT8 in settings._flags:
                _calibrate(double, settings.int8_calibrator, network._model)
            if not (monitor.step_complete("Timing tactics", 0) and monitor.step_complete("Building engine", 0)):
                return None
            monitor.phase_finish("Building engine")
            if not double.happened("build_serialized_network"):
                self._logger.log(trt.ILogger.ERROR, "Error Code 2: OutOfMemory (Requested size was 1048576 bytes.)")
                return None
            return MAGIC + network._model.SerializeToString()

    for item in (
        Builder,
        INetworkDefinition,
        IOptimizationProfile,
        OnnxParser,
        ParserError,
        IBuilderConfig,
        ITimingCache,
    ):
        setattr(trt, item.__name__, item)


def _calibrate(double: Double, calibrator, model) -> None:
    """Calibrates as TensorRT does: a cache spares the frames, an exception looks like the end of the data."""
    cache = calibrator.read_calibration_cache()
    if cache and not double.distrust_cache:
        double.cache = cache
        return
    double.batches = []
    names = [port.name for port in model.graph.input]
    while True:
        try:
            addresses = calibrator.get_batch(names)
        except Exception as error:
            double.swallowed.append(error)
            break
        if not addresses:
            break
        shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
        double.batches.append(double.array_at(addresses[0], np.dtype(np.float32), shape).copy())
    calibrator.write_calibration_cache(memoryview(b"TRT-100300-EntropyCalibration2\n"))


def _add_running(trt, double: Double) -> None:  # noqa: C901 - many small classes
    def ports(session):
        kinds = {
            "tensor(float)": trt.DataType.FLOAT,
            "tensor(uint8)": trt.DataType.UINT8,
            "tensor(int64)": trt.DataType.INT64,
        }
        found = [(port, trt.TensorIOMode.INPUT) for port in session.get_inputs()]
        found += [(port, trt.TensorIOMode.OUTPUT) for port in session.get_outputs()]
        return {
            port.name: SimpleNamespace(
                mode=mode, dtype=kinds[port.type], shape=[size if isinstance(size, int) else -1 for size in port.shape]
            )
            for port, mode in found
        }

    class IProfiler:
        pass

    trt.IProfiler = IProfiler

    class IExecutionContext:
        __slots__ = ("_addresses", "_engine", "_shapes", "profiler")

        def __init__(self, engine):
            self._engine, self._addresses, self.profiler = engine, {}, None
            self._shapes = {name: list(port.shape) for name, port in engine._ports.items()}

        def set_input_shape(self, name, shape):
            self._shapes[name] = list(shape)
            feeds = {name: np.zeros(shape, trt.nptype(self._engine._ports[name].dtype))}
            outputs = [other for other, port in self._engine._ports.items() if port.mode == trt.TensorIOMode.OUTPUT]
            made = self._engine._session.run(outputs, feeds)
            self._shapes |= {other: list(value.shape) for other, value in zip(outputs, made, strict=True)}
            return True

        def get_tensor_shape(self, name):
            return self._shapes[name]

        def set_tensor_address(self, name, memory):
            if not double.happened("set_tensor_address"):
                return False
            self._addresses[name] = memory
            return True

        def execute_async_v3(self, stream_handle):
            if not double.happened("execute_async_v3"):
                return False
            addresses = dict(self._addresses)
            double.launch(stream_handle, lambda: self._run(addresses))
            return True

        def _run(self, addresses):
            double.events.append("run")
            feeds, outputs = {}, []
            for name, port in self._engine._ports.items():
                address = addresses[name]
                if port.mode == trt.TensorIOMode.INPUT:
                    dtype = trt.nptype(port.dtype)
                    feeds[name] = double.array_at(address, dtype, self._shapes[name])
                else:
                    outputs.append(name)
            for name, value in zip(outputs, self._engine._session.run(outputs, feeds), strict=True):
                ctypes.memmove(addresses[name], value.ctypes.data, value.nbytes)
            if self.profiler is not None:
                for index, node in enumerate(self._engine._model.graph.node):
                    self.profiler.report_layer_time(node.name, 0.01 * (1 + index) + 0.001 * double.events.count("run"))

    class EngineInspector:
        __slots__ = ("_model",)

        def get_engine_information(self, format):  # noqa: A002 - TensorRT's name
            assert format == trt.LayerInformationFormat.JSON
            kinds = {"QuantizeLinear": "Row major linear FP32", "Conv": "Row major Int8 format"}
            layers = [
                {
                    "Name": node.name,
                    "LayerType": "DLA" if node.op_type in double.on_dla else node.op_type,
                    "Inputs": [{"Format/Datatype": kinds.get(node.op_type, "Float")}],
                }
                for node in self._model.graph.node
            ]
            return json.dumps({"Layers": layers})

    class ICudaEngine:
        __slots__ = ("_model", "_ports", "_session")

        def __init__(self, content):
            from jetseg.onnx.session import make_session

            self._model = onnx.load_from_string(content)
            self._session = make_session(content, optimize=False)
            self._ports = ports(self._session)

        @property
        def num_io_tensors(self):
            return len(self._ports)

        def get_tensor_name(self, index):
            return list(self._ports)[index]

        def get_tensor_mode(self, name):
            return self._ports[name].mode

        def get_tensor_dtype(self, name):
            return self._ports[name].dtype

        def get_tensor_shape(self, name):
            return self._ports[name].shape

        def create_execution_context(self):
            return IExecutionContext(self) if double.happened("create_execution_context") else None

        def create_engine_inspector(self):
            inspector = EngineInspector()
            inspector._model = self._model
            return inspector

    class Runtime:
        __slots__ = ("DLA_core", "_logger", "engine_host_code_allowed")

        def __init__(self, logger):
            double.happened("Runtime")
            self._logger = logger
            self.DLA_core, self.engine_host_code_allowed = -1, False
            double.runtime = self

        @property
        def num_DLA_cores(self):  # noqa: N802 - TensorRT's name
            return double.dla_cores

        def deserialize_cuda_engine(self, content):
            if not double.happened("deserialize_cuda_engine") or not content.startswith(MAGIC):
                self._logger.log(trt.ILogger.ERROR, "Serialization assertion magicTagRead == kMAGIC_TAG failed.")
                return None
            return ICudaEngine(content[len(MAGIC) :])

    for item in (Runtime, ICudaEngine, IExecutionContext, EngineInspector):
        setattr(trt, item.__name__, item)
