"""NVIDIA's real parser and builder, in a process of their own: what they do there touches no other test."""

import functools
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context


class RealParser:
    """Asks a process that has TensorRT-RTX; where it dies, the test that asked fails with that network's operators."""

    def __init__(self):
        self._process = ProcessPoolExecutor(1, mp_context=get_context("spawn"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.shutdown()

    def takes(self, model, build=False):
        """Whether it parses a network, and builds a plan of it where that is asked for."""
        try:
            return self._process.submit(_takes, model.SerializeToString(), build).result()
        except RuntimeError as error:
            raise AssertionError(f"NVIDIA's parser died of {[node.op_type for node in model.graph.node]}") from error

    def knows(self, operator):
        """Whether it has a converter of that name."""
        return self._process.submit(_knows, operator).result()


@functools.cache
def _open():
    import tensorrt_rtx as trt

    log = trt.Logger(trt.Logger.INTERNAL_ERROR)
    return trt, log, trt.Builder(log)


def _takes(content, build):
    trt, log, builder = _open()
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(content) or not build:
        return parser.num_errors == 0
    settings = builder.create_builder_config()
    settings.num_compute_capabilities = 1
    settings.set_compute_capability(trt.ComputeCapability.SM86, 0)
    return builder.build_serialized_network(network, settings) is not None


def _knows(operator):
    trt, log, builder = _open()
    return trt.OnnxParser(builder.create_network(0), log).supports_operator(operator)
