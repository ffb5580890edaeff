"""Exports many networks of one structure, with torch's exporter run but once: to see how fast they are."""

from __future__ import annotations

import jetseg.models  # isort: skip  # noqa: F401 - says plainly that torch is missing
import numpy as np
import onnx
import torch
from onnx import TensorProto
from torch import Tensor, nn

from jetseg.exporters.onnx_export import INPUT_NAME, finish_, quiet_exporter, run_exporter
from jetseg.exporters.parity import MAX_RELATIVE_ERROR
from jetseg.onnx.session import make_session, run_session


class NetworkStructure:
    """The graph of a network without its weights: those of another one, pruned or trained, make that one's file.

    Args:
        module: A network in eval mode, with one input and one output.
        example: An input of the type and size to export for.
        output_name: Name of the output.

    Raises:
        ArtifactError: The network cannot be exported.
        MissingDependencyError: onnxscript is not installed.
    """

    def __init__(self, module: nn.Module, example: Tensor, output_name: str) -> None:
        self._example, self._output_name = example, output_name
        self._graph = run_exporter(module, example, output_name, optimize=False)
        weights = module.state_dict()
        for tensor in self._graph.graph.initializer:
            if tensor.name in weights:
                tensor.ClearField("raw_data")  # those of the network at hand will take their place

    def export(self, module: nn.Module) -> onnx.ModelProto:
        """Returns what `jetseg.exporters.onnx_export.export_module` would, but for the names of what is in between.

        Layers may have other channels than those of the network that the structure is of. What the graph computes is
        compared with the network; one that it does not fit is exported on its own.

        Args:
            module: A network in eval mode.

        Raises:
            ArtifactError: The network cannot be exported.
        """
        model = self._filled(module)
        if model is None:
            model = run_exporter(module, self._example, self._output_name)
            finish_(model)
        return model

    def _filled(self, module: nn.Module) -> onnx.ModelProto | None:
        """Returns the graph with a network's weights; None if that is not the network."""
        import onnx_ir as ir
        from onnxscript.optimizer import optimize

        try:
            graph = onnx.ModelProto()
            graph.CopyFrom(self._graph)
            _fill_(graph.graph, module)
            program = ir.serde.deserialize_model(graph)
            with quiet_exporter():
                optimize(program)
            model: onnx.ModelProto = ir.serde.serialize_model(program)
            finish_(model)
            return model if self._same(model, module) else None
        except Exception:  # a size that is written into the graph fails anywhere
            return None

    def _same(self, model: onnx.ModelProto, module: nn.Module) -> bool:
        """Tells whether a file computes what a network does, on noise."""
        noise = torch.rand(self._example.shape, generator=torch.Generator().manual_seed(0))
        session = make_session(model.SerializeToString(), threads=1)
        (found,) = run_session(session, [self._output_name], {INPUT_NAME: noise.numpy()})
        with torch.no_grad():
            wanted = module(noise).numpy()
        most = MAX_RELATIVE_ERROR * float(np.abs(wanted).max())
        return found.shape == wanted.shape and bool(np.abs(found - wanted).max() <= most)


def _fill_(graph: onnx.GraphProto, module: nn.Module) -> None:
    """Puts a network's weights into a graph, and the groups of its convolutions; forgets the sizes of what is between.

    Raises:
        KeyError: The network lacks a weight.
    """
    weights = module.state_dict()
    for tensor in graph.initializer:
        if not tensor.HasField("raw_data"):
            _put_(tensor, weights[tensor.name])
    for node in graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            layer = module.get_submodule(node.input[1].rpartition(".")[0])
            groups = [attribute for attribute in node.attribute if attribute.name == "group"]
            if groups and isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)):
                groups[0].i = layer.groups
    del graph.value_info[:]


def _put_(tensor: TensorProto, weight: Tensor) -> None:
    made = onnx.numpy_helper.from_array(weight.detach().cpu().numpy(), tensor.name)
    if made.data_type != tensor.data_type:
        raise ValueError(f"{tensor.name} is of another type.")
    tensor.CopyFrom(made)
