"""The tensors that an ONNX file holds, wherever they stand, and the bytes that each of them must have."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import Message
from onnx import numpy_helper

from jetseg.errors import ArtifactError

MOST_BYTES = (1 << 31) - 1
"""The most that a protobuf message can have."""
_BITS = (
    {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16}
    | dict.fromkeys((17, 18, 19, 20, 24), 8)
    | dict.fromkeys((21, 22, 23), 4)
    | dict.fromkeys((25, 26), 2)
)
"""Bits of a value by `TensorProto.DataType`, as numbers: an older onnx lacks some names. Without strings."""
_STRING = int(onnx.TensorProto.STRING)
_FIELDS = {
    "float_data": frozenset({1, 14}),
    "double_data": frozenset({11, 15}),
    "int64_data": frozenset({7}),
    "uint64_data": frozenset({12, 13}),
    "string_data": frozenset({_STRING}),
}
"""Fields with values of certain types where there are no raw bytes; `int32_data` has all others."""
_COMPLEX = frozenset({14, 15})


def all_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yields all tensors, wherever they lie: initializers, attributes, branches, functions, sparse ones."""
    for found in _tensors(model):
        if isinstance(found, onnx.TensorProto):
            yield found


def check_sizes(path: Path, model: onnx.ModelProto) -> None:
    """Checks that each tensor holds as many values as its shape says, and that no sparse one would fill the memory.

    Raises:
        ArtifactError: One does not, or would.
    """
    for found in _tensors(model):
        if isinstance(found, onnx.TensorProto):
            _check_size(path, found)
        elif _count(path, found.values, found.dims) * 8 > MOST_BYTES:
            raise _wrong(path, found.values, f"is sparse, and has the shape {list(found.dims)}")


def flush_subnormals_(model: onnx.ModelProto) -> None:
    """Makes float32 weights zero whose magnitude is below the least normal one, 1.2e-38.

    Weight decay leaves them in dead channels. They change nothing that a network says, but a processor computes with
    them many times slower than with other numbers.

    Args:
        model: All weights inside; it is changed in place.
    """
    for tensor in all_tensors(model):
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        subnormal = (values != 0) & (np.abs(values) < np.finfo(np.float32).tiny)
        if subnormal.any():
            tensor.CopyFrom(numpy_helper.from_array(np.where(subnormal, np.float32(0), values), tensor.name))


def _tensors(message: Message) -> Iterator[onnx.TensorProto | onnx.SparseTensorProto]:
    if isinstance(message, onnx.TensorProto | onnx.SparseTensorProto):
        yield message
    if isinstance(message, onnx.TensorProto | onnx.ValueInfoProto):
        return  # a description of an activation, of which a network has hundreds, holds no tensor
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if isinstance(value, Message) else value:
                yield from _tensors(inner)


def size_bytes(path: Path, tensor: onnx.TensorProto) -> int:
    """Returns how many bytes a tensor's values take by its shape and type, strings aside.

    Raises:
        ArtifactError: The shape is none, the type is unknown or has no fixed size, or that is more than a file can
            hold.
    """
    bits = _BITS.get(tensor.data_type)
    if bits is None:
        raise _wrong(path, tensor, f"is of type {tensor.data_type}, which has no fixed size")
    size = -(-_count(path, tensor, tensor.dims) * bits // 8)
    if size > MOST_BYTES:
        raise _wrong(path, tensor, f"would take {size / 1e9:.1f} GB")
    return size


def _check_size(path: Path, tensor: onnx.TensorProto) -> None:
    if tensor.HasField("raw_data"):
        size = size_bytes(path, tensor)
        if len(tensor.raw_data) != size:
            raise _wrong(path, tensor, f"has {len(tensor.raw_data)} bytes, where its shape and type ask for {size}")
        return
    kind = tensor.data_type
    if _BITS.get(kind, 8) < 8:
        return  # several values in a number, which runtimes count differently
    field = next((name for name, kinds in _FIELDS.items() if kind in kinds), "int32_data")
    found, count = len(getattr(tensor, field)), _count(path, tensor, tensor.dims) * (2 if kind in _COMPLEX else 1)
    if found != count:
        raise _wrong(path, tensor, f"has {found} values, where its shape asks for {count}")


def _count(path: Path, tensor: onnx.TensorProto, shape: Sequence[int]) -> int:
    if any(size < 0 for size in shape):
        raise _wrong(path, tensor, f"has the shape {list(shape)}")
    return math.prod(shape)


def _wrong(path: Path, tensor: onnx.TensorProto, what: str) -> ArtifactError:
    return ArtifactError(f"{path} is damaged: its tensor {tensor.name!r} {what}.", "Copy or export it again.")
