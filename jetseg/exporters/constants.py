"""Computes once, at export, what does not depend on the image."""

from __future__ import annotations

import onnx
from onnx import helper, numpy_helper

from jetseg.onnx.session import make_session, run_session

_MOST_BYTES = 64 << 20
"""What is computed may take this much; a small constant that is expanded to more stays as it is."""
_DRAWN = ("Random", "Bernoulli", "Multinomial")


def fold_constants_(model: onnx.ModelProto) -> None:
    """Replaces operators that read constants alone by their results, as in positional embeddings that are resized.

    ONNX Runtime and TensorRT would do so as well, but TensorRT's parser looks at every operator first and refuses
    some, such as antialiased resizing; and rules about weights do not see a weight behind an operator.

    Args:
        model: Without functions; it is changed in place.
    """
    graph = model.graph
    outputs, constant = {value.name for value in graph.output}, {tensor.name for tensor in graph.initializer}
    folded: list[onnx.NodeProto] = []
    for node in graph.node:
        reads = [name for name in node.input if name]
        drawn = node.op_type.startswith(_DRAWN) or any(entry.HasField("g") for entry in node.attribute)
        if reads and not drawn and constant.issuperset(reads) and outputs.isdisjoint(node.output):
            folded.append(node)
            constant.update(node.output)
    if not folded:
        return
    made = {name for node in folded for name in node.output}
    kept = [node for node in graph.node if made.isdisjoint(node.output)]
    read = {name for node in kept for name in node.input}
    wanted = [name for node in folded for name in node.output if name in read]
    part = helper.make_graph(folded, "constants", [], [onnx.ValueInfoProto(name=name) for name in wanted])
    needed = {name for node in folded for name in node.input}
    part.initializer.extend(tensor for tensor in graph.initializer if tensor.name in needed)
    alone = helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version)
    values = run_session(make_session(alone.SerializeToString(), threads=1), wanted, {}) if wanted else []
    if sum(value.nbytes for value in values) > _MOST_BYTES:
        return
    known = [tensor for tensor in graph.initializer if tensor.name in read]
    known += [numpy_helper.from_array(value, name) for name, value in zip(wanted, values, strict=True)]
    described = [value for value in graph.value_info if value.name not in made]
    for field, items in ((graph.node, kept), (graph.initializer, known), (graph.value_info, described)):
        copies = [type(item).FromString(item.SerializeToString()) for item in items]
        del field[:]
        field.extend(copies)
