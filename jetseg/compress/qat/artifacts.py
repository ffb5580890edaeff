"""Writes what training changed back into the graph: the Q/DQ file, its float twin, and the ranges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from torch import Tensor

from jetseg.compress.qat.graph import PAIR
from jetseg.compress.qat.module import OnnxModule
from jetseg.compress.qat.quantizers import LARGEST
from jetseg.manifest import Manifest
from jetseg.network import save_manifest
from jetseg.onnx.file import save_onnx
from jetseg.storage import write_json


def float_twin_path(out: Path) -> Path:
    """Returns the place of the float network beside a trained Q/DQ file."""
    return out.with_suffix(".float.onnx")


def scales_path(out: Path) -> Path:
    """Returns the place of the activations' ranges beside a trained Q/DQ file."""
    return out.with_suffix(".scales.json")


def write_artifacts(out: Path, model: onnx.ModelProto, module: OnnxModule, manifest: Manifest) -> Manifest:
    """Writes the trained Q/DQ file, its float twin and its scales, with manifests.

    Args:
        out: The Q/DQ file; `.float.onnx` and `.scales.json` take its name.
        model: The graph that training started from.
        module: The trained module of it.
        manifest: Describes the Q/DQ file.

    Returns:
        The manifest of the Q/DQ file as written.
    """
    trained = trained_graph(model, module)
    save_onnx(out, trained)
    save_onnx(float_twin_path(out), float_graph(trained))
    write_json(scales_path(out), activation_ranges(module))
    twin = manifest.changed(accuracy=(), parity=None, precision="fp32", calibration_sha256=None)
    save_manifest(float_twin_path(out), twin)
    return save_manifest(out, manifest)


def trained_graph(model: onnx.ModelProto, module: OnnxModule) -> onnx.ModelProto:
    """Returns a copy of a graph with the weights and scales of a module of it."""
    changed = dict(zip(module.weight_names, module.weights, strict=True))
    values: dict[str, Tensor] = {name: weight.detach() for name, weight in changed.items()}
    scales = module.scales()
    values |= {name: scales[source] for name, source in module.scale_sources.items()}
    trained = onnx.ModelProto()
    trained.CopyFrom(model)
    constants = [node for node in trained.graph.node if node.op_type == "Constant" and node.output[0] in values]
    tensors = [*trained.graph.initializer, *(node.attribute[0].t for node in constants)]
    names = [*(tensor.name for tensor in trained.graph.initializer), *(node.output[0] for node in constants)]
    for name, tensor in zip(names, tensors, strict=True):
        if name in values:
            array = values[name].cpu().numpy().astype(np.float32).reshape(tuple(tensor.dims))
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return trained


def float_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a copy of a graph without its quantizers; every other tensor keeps its name."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    graph = plain.graph
    before = {node.output[0]: node.input[0] for node in graph.node if node.op_type in PAIR}
    nodes = [node for node in graph.node if node.op_type not in PAIR]
    for node in nodes:
        node.input[:] = [_unquantized(name, before) for name in node.input]
    nodes += [
        helper.make_node("Identity", [_unquantized(port.name, before)], [port.name], f"{port.name}.identity")
        for port in graph.output
        if port.name in before
    ]
    used = {name for node in nodes for name in node.input} | {port.name for port in graph.output}
    weights = [tensor for tensor in graph.initializer if tensor.name in used]
    shapes = [port for port in graph.value_info if port.name not in before]
    for container, kept in ((graph.node, nodes), (graph.initializer, weights), (graph.value_info, shapes)):
        copies = [type(item).FromString(item.SerializeToString()) for item in kept]
        del container[:]
        container.extend(copies)
    return plain


def activation_ranges(module: OnnxModule) -> dict[str, float]:
    """Returns the largest magnitude that each quantized activation can hold: 127 times its scale."""
    return {name: float(scale) * LARGEST for name, scale in module.scales().items() if name not in module.weight_names}


def _unquantized(name: str, before: dict[str, str]) -> str:
    while name in before:
        name = before[name]
    return name
