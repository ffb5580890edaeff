"""The ONNX operators that can be trained, each as a torch function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor

from jetseg.compress.qat.along_axes import (
    batch_norm,
    global_average_pool,
    instance_norm,
    layer_norm,
    reduced,
    softmax,
)
from jetseg.compress.qat.layout import (
    concat,
    cut,
    expand,
    flatten,
    gather,
    gather_nd,
    pad,
    reshape,
    shape,
    split,
    squeeze,
    transpose,
    unsqueeze,
)
from jetseg.compress.qat.node import Node, Operator, Value, optional, required
from jetseg.compress.qat.spatial import average_pool, conv, conv_transpose, max_pool, resize

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


def _on_all(compute: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda _, inputs: reduce(compute, [value for value in inputs if value is not None])


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


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


def _gelu(node: Node, inputs: Sequence[Value]) -> Tensor:
    return F.gelu(required(node, inputs, 0), approximate=node.get("approximate", "none"))


def _where(node: Node, inputs: Sequence[Value]) -> Tensor:
    condition, x, y = (required(node, inputs, index) for index in range(3))
    return torch.where(condition.to(x.device), x, y)


def _einsum(node: Node, inputs: Sequence[Value]) -> Tensor:
    return torch.einsum(node.get("equation"), *(value for value in inputs if value is not None))


def _gemm(node: Node, inputs: Sequence[Value]) -> Tensor:
    a, b, c = required(node, inputs, 0), required(node, inputs, 1), optional(inputs, 2)
    a = a.T if node.get("transA", 0) else a
    b = b.T if node.get("transB", 0) else b
    product = (a @ b) * float(node.get("alpha", 1.0))
    return product if c is None else product + c * float(node.get("beta", 1.0))


def _argmax(node: Node, inputs: Sequence[Value]) -> Tensor:
    return required(node, inputs, 0).argmax(dim=node.get("axis", 0), keepdim=bool(node.get("keepdims", 1)))


def _cast(node: Node, inputs: Sequence[Value]) -> Tensor:
    return required(node, inputs, 0).to(TYPES[node.get("to")])


OPERATORS: dict[str, Operator] = {
    "Abs": _on_one(torch.abs),
    "Add": _on_two(torch.add),
    "ArgMax": _argmax,
    "AveragePool": average_pool,
    "BatchNormalization": batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": concat,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Div": _on_two(_divide),
    "Einsum": _einsum,
    "Erf": _on_one(torch.erf),
    "Exp": _on_one(torch.exp),
    "Expand": expand,
    "Flatten": flatten,
    "Gather": gather,
    "GatherND": gather_nd,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": global_average_pool,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _on_one(F.hardswish),
    "Identity": _on_one(lambda x: x),
    "InstanceNormalization": instance_norm,
    "IsNaN": _on_one(torch.isnan),
    "LayerNormalization": layer_norm,
    "LeakyRelu": _leaky_relu,
    "MatMul": _on_two(torch.matmul),
    "Max": _on_all(torch.maximum),
    "MaxPool": max_pool,
    "Min": _on_all(torch.minimum),
    "Mul": _on_two(torch.mul),
    "Neg": _on_one(torch.neg),
    "PRelu": _prelu,
    "Pad": pad,
    "Pow": _on_two(lambda x, exponent: x.pow(exponent.to(x.device))),
    "Reciprocal": _on_one(torch.reciprocal),
    "ReduceL2": reduced(lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep)),
    "ReduceMax": reduced(torch.amax),
    "ReduceMean": reduced(torch.mean),
    "ReduceSum": reduced(torch.sum),
    "Relu": _on_one(F.relu),
    "Reshape": reshape,
    "Resize": resize,
    "Shape": shape,
    "Sigmoid": _on_one(torch.sigmoid),
    "Slice": cut,
    "Softmax": softmax,
    "Softplus": _on_one(F.softplus),
    "Split": split,
    "Sqrt": _on_one(torch.sqrt),
    "Squeeze": squeeze,
    "Sub": _on_two(torch.sub),
    "Sum": _on_all(torch.add),
    "Tanh": _on_one(torch.tanh),
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
    "Where": _where,
}
"""The function of each operator that `jetseg.onnx.trainable` lists, for the forms that it lets pass; quantizers are not
here, because they hold trained scales."""
