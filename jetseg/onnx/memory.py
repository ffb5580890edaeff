"""Memory: foresees a network that asks for more than there is, where shapes tell, and gives back what was freed."""

from __future__ import annotations

import ctypes
import math
import os
from contextlib import suppress

import numpy as np
import onnx
from onnx import helper

from jetseg.errors import ArtifactError, OutOfMemoryError
from jetseg.onnx.type_inference import infer_types

_LARGE_BYTES = 1024
"""Initializers above this hold weights; shapes are in smaller ones."""


def check_memory(model: onnx.ModelProto, name: str) -> None:
    """Refuses a network one of whose nodes alone gives more than the machine's memory.

    What a node gives is known from shapes; where they depend on the input's values, running tells.

    Args:
        model: The network, its weights inside; it is not changed.
        name: What it is called in messages.

    Raises:
        OutOfMemoryError: It asks for more.
    """
    most = memory_bytes()
    if most is None:
        return
    try:
        types, shapes = infer_types(_without_weights(model))
    except ArtifactError:  # whoever runs the network says it better
        return
    for node in model.graph.node:
        asked = sum(_size_bytes(types.get(output, 0), shapes.get(output, (0,))) for output in node.output)
        if asked > most:
            raise OutOfMemoryError(f"node {node.name or node.output[0]} ({node.op_type}) of {name}", asked)


def memory_bytes() -> int | None:
    """Returns the memory that this process may take, at most the machine's; None where the system does not tell."""
    try:
        import resource  # absent on Windows

        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    except (ImportError, ValueError, OSError):
        return None
    return machine if limit == resource.RLIM_INFINITY else min(machine, limit)


def return_freed_memory() -> None:
    """Tells glibc to give freed memory back to the system, also what lies between arrays that are still in use.

    It keeps freed activations for arrays that fit into their place, which those of another network need not do.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a network of the same shapes that is quick to look through."""
    bare = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    graph = bare.graph
    graph.node.extend(model.graph.node)
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    named = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if tensor.ByteSize() <= _LARGE_BYTES:
            graph.initializer.append(tensor)
        elif tensor.name not in named:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    return bare


def _size_bytes(kind: int, shape: tuple[int | None, ...]) -> int:
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind))
    except (KeyError, ValueError, TypeError):
        return 0
    return math.prod(size or 0 for size in shape) * int(dtype.itemsize)
