"""Writes what training changed back into the graph: the Q/DQ file, its float twin, and the ranges."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import helper
from torch import Tensor

from jetseg.artifact_file import save_onnx
from jetseg.compress.qat.graph import PAIR
from jetseg.compress.qat.module import OnnxModule
from jetseg.compress.qat.quantizers import LARGEST
from jetseg.manifest import Manifest
from jetseg.onnx.graph import Graph
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
    write_json(scales_path(out), activation_ranges(module))
    twin = manifest.changed(accuracy=(), parity=None, precision="fp32", calibration_sha256=None)
    save_onnx(float_twin_path(out), float_graph(trained), twin)
    return save_onnx(out, trained, manifest)


def trained_graph(model: onnx.ModelProto, module: OnnxModule) -> onnx.ModelProto:
    """Returns a copy of a graph with the weights and scales of a module of it."""
    values: dict[str, Tensor] = {name: weight.detach() for name, weight in module.weights.items()}
    scales = module.scales()
    values |= {name: scales[source] for name, source in module.scale_sources.items()}
    graph = Graph(model).copy()
    for name, tensor in values.items():
        graph.set_weight(name, tensor.cpu().numpy().reshape(tuple(graph.constants[name].dims)))
    return graph.model


def float_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a copy of a graph without its quantizers; every other tensor keeps its name."""
    graph = Graph(model).copy()
    for node in graph.nodes:
        if node.op_type not in PAIR:
            continue
        source, output = node.input[0], node.output[0]
        for reader in graph.readers(output):
            graph.replace_input(reader, output, source)
        if output in graph.outputs:
            graph.replace_node(node, helper.make_node("Identity", [source], [output], f"{output}.identity"))
        else:
            graph.remove_node(node)
    graph.drop_unused()
    graph.forget_types()
    graph.check()
    return graph.model


def activation_ranges(module: OnnxModule) -> dict[str, float]:
    """Returns the largest magnitude that each quantized activation can hold: 127 times its scale."""
    return {name: float(scale) * LARGEST for name, scale in module.scales().items() if name not in module.weight_names}
