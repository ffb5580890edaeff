"""The ONNX operators that can be trained, each as a torch function."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor

from jetseg.compress.qat.node import Node, Value, integers
from jetseg.compress.qat.spatial import (
    average_pool,
    conv,
    conv_transpose,
    max_pool,
    optional,
    required,
    resize,
)

Result = Tensor | tuple[Tensor, ...]
Operator = Callable[[Node, Sequence[Value]], Result]

TYPES = {
    onnx.TensorProto.FLOAT: torch.float32,
    onnx.TensorProto.FLOAT16: torch.float16,
    onnx.TensorProto.DOUBLE: torch.float64,
    onnx.TensorProto.UINT8: torch.uint8,
    onnx.TensorProto.INT8: torch.int8,
    onnx.TensorProto.INT32: torch.int32,
    onnx.TensorProto.INT64: torch.int64,
    onnx.TensorProto.BOOL: torch.bool,
}


def _on_one(compute: Callable[[Tensor], Tensor]) -> Operator:
    return lambda node, inputs: compute(required(node, inputs, 0))


def _on_two(compute: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda node, inputs: compute(required(node, inputs, 0), required(node, inputs, 1))


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _batch_norm(node: Node, inputs: Sequence[Value]) -> Tensor:
    x, scale, shift, mean, variance = (required(node, inputs, index) for index in range(5))
    return F.batch_norm(x, mean, variance, scale, shift, training=False, eps=node.get("epsilon", 1e-5))


def _prelu(node: Node, inputs: Sequence[Value]) -> Tensor:
    x, slope = required(node, inputs, 0), required(node, inputs, 1)
    per_channel = slope.ndim == x.ndim - 1 and slope.numel() == slope.shape[0] == x.shape[1]
    if per_channel or slope.numel() == 1:
        return F.prelu(x, slope.flatten())
    return torch.where(x >= 0, x, slope * x)


def _leaky_relu(node: Node, inputs: Sequence[Value]) -> Tensor:
    return F.leaky_relu(required(node, inputs, 0), node.get("alpha", 0.01))


def _clip(node: Node, inputs: Sequence[Value]) -> Tensor:
    low, high = optional(inputs, 1), optional(inputs, 2)
    x = required(node, inputs, 0)
    return x if low is None and high is None else torch.clamp(x, low, high)


def _hard_sigmoid(node: Node, inputs: Sequence[Value]) -> Tensor:
    return (required(node, inputs, 0) * float(node.get("alpha", 0.2)) + float(node.get("beta", 0.5))).clamp(0, 1)


def _concat(node: Node, inputs: Sequence[Value]) -> Tensor:
    return torch.cat([value for value in inputs if value is not None], dim=node.get("axis"))


def _split(node: Node, inputs: Sequence[Value]) -> Result:
    x, sizes, axis = required(node, inputs, 0), optional(inputs, 1), node.get("axis", 0)
    if sizes is not None:
        return tuple(torch.split(x, integers(sizes), dim=axis))
    return tuple(torch.split(x, -(-x.shape[axis] // len(node.outputs)), dim=axis))


def _slice(node: Node, inputs: Sequence[Value]) -> Tensor:
    x = required(node, inputs, 0)
    starts, ends = (integers(required(node, inputs, index)) for index in (1, 2))
    axes, steps = optional(inputs, 3), optional(inputs, 4)
    along = range(len(starts)) if axes is None else integers(axes)
    strides = [1] * len(starts) if steps is None else integers(steps)
    for axis, start, end, stride in zip(along, starts, ends, strides, strict=True):
        chosen = range(*slice(start, end, stride).indices(x.shape[axis]))
        if stride == 1:
            x = x.narrow(axis, chosen.start, len(chosen))
        else:
            x = x.index_select(axis, torch.tensor(list(chosen), dtype=torch.int64, device=x.device))
    return x


def _gather(node: Node, inputs: Sequence[Value]) -> Tensor:
    x, index = required(node, inputs, 0), required(node, inputs, 1)
    axis = node.get("axis", 0) % x.ndim
    flat = index.flatten().to(x.device) % x.shape[axis]
    return x.index_select(axis, flat).reshape(x.shape[:axis] + index.shape + x.shape[axis + 1 :])


def _global_average_pool(node: Node, inputs: Sequence[Value]) -> Tensor:
    x = required(node, inputs, 0)
    return x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)


def _reduce_mean(node: Node, inputs: Sequence[Value]) -> Tensor:
    x, given = required(node, inputs, 0), optional(inputs, 1)
    axes = node.get("axes", []) if given is None else integers(given)
    if not axes and node.get("noop_with_empty_axes", 0):
        return x
    return x.mean(dim=tuple(axes) or tuple(range(x.ndim)), keepdim=bool(node.get("keepdims", 1)))


def _reshape(node: Node, inputs: Sequence[Value]) -> Tensor:
    x, shape = required(node, inputs, 0), integers(required(node, inputs, 1))
    if not node.get("allowzero", 0):
        shape = [x.shape[axis] if size == 0 else size for axis, size in enumerate(shape)]
    return x.reshape(shape)


def _transpose(node: Node, inputs: Sequence[Value]) -> Tensor:
    x = required(node, inputs, 0)
    return x.permute(node.get("perm", list(range(x.ndim))[::-1]))


def _flatten(node: Node, inputs: Sequence[Value]) -> Tensor:
    x, axis = required(node, inputs, 0), node.get("axis", 1)
    return x.reshape(int(torch.Size(x.shape[:axis]).numel()), -1)


def _squeeze(node: Node, inputs: Sequence[Value]) -> Tensor:
    x, axes = required(node, inputs, 0), optional(inputs, 1)
    return x.squeeze() if axes is None else x.squeeze(integers(axes))


def _unsqueeze(node: Node, inputs: Sequence[Value]) -> Tensor:
    x, axes = required(node, inputs, 0), integers(required(node, inputs, 1))
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _gemm(node: Node, inputs: Sequence[Value]) -> Tensor:
    a, b, c = required(node, inputs, 0), required(node, inputs, 1), optional(inputs, 2)
    a = a.T if node.get("transA", 0) else a
    b = b.T if node.get("transB", 0) else b
    product = (a @ b) * float(node.get("alpha", 1.0))
    return product if c is None else product + c * float(node.get("beta", 1.0))


def _softmax(node: Node, inputs: Sequence[Value]) -> Tensor:
    return required(node, inputs, 0).softmax(dim=node.get("axis", -1))


def _argmax(node: Node, inputs: Sequence[Value]) -> Tensor:
    return required(node, inputs, 0).argmax(dim=node.get("axis", 0), keepdim=bool(node.get("keepdims", 1)))


def _cast(node: Node, inputs: Sequence[Value]) -> Tensor:
    return required(node, inputs, 0).to(TYPES[node.get("to")])


def _shape(node: Node, inputs: Sequence[Value]) -> Tensor:
    shape = list(required(node, inputs, 0).shape)
    return torch.tensor(shape[node.get("start", 0) : node.get("end", None)], dtype=torch.int64)


OPERATORS: dict[str, Operator] = {
    "Add": _on_two(torch.add),
    "ArgMax": _argmax,
    "AveragePool": average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Div": _on_two(_divide),
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average_pool,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _on_one(F.hardswish),
    "Identity": _on_one(lambda x: x),
    "LeakyRelu": _leaky_relu,
    "MatMul": _on_two(torch.matmul),
    "MaxPool": max_pool,
    "Mul": _on_two(torch.mul),
    "PRelu": _prelu,
    "ReduceMean": _reduce_mean,
    "Relu": _on_one(F.relu),
    "Reshape": _reshape,
    "Resize": resize,
    "Shape": _shape,
    "Sigmoid": _on_one(torch.sigmoid),
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Squeeze": _squeeze,
    "Sub": _on_two(torch.sub),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""The function of each operator that `jetseg.onnx.trainable` lists, for the forms that it lets pass; quantizers are not
here, because they hold trained scales."""
