"""A network of a few nodes, whatever the types of its ends."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper, numpy_helper

node = helper.make_node
Case = tuple[str, onnx.ModelProto]
F32 = np.float32


def network(
    nodes, constants=None, shape=(1, 3, 8, 8), *, opset=18, dtype=T.FLOAT, more=(), outputs=("out",), kind=None
):
    """A network of these nodes from `image` (and further inputs) to `out`."""
    inputs = [helper.make_tensor_value_info("image", dtype, shape)]
    inputs += [helper.make_tensor_value_info(name, form, size) for name, form, size in more]
    ends = [onnx.ValueInfoProto(name=name) for name in outputs]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    made = helper.make_graph(nodes if isinstance(nodes, list) else [nodes], "case", inputs, ends, tensors)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    known = {value.name: value.type for value in onnx.shape_inference.infer_shapes(model).graph.output}
    for value in model.graph.output:
        if value.name in known and known[value.name].WhichOneof("value"):
            value.type.CopyFrom(known[value.name])
        else:
            value.CopyFrom(helper.make_tensor_value_info(value.name, kind or T.FLOAT, None))
    return model
