"""An ONNX graph as a torch module that can be trained, quantizers included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx
import torch
from torch import Tensor, nn

from jetseg.compress.qat.graph import (
    PAIR,
    asymmetric,
    check_opset,
    check_pair,
    check_trainable,
    checked_scale,
    read_graph,
    trained_names,
    with_releases,
)
from jetseg.compress.qat.node import Node, Result
from jetseg.compress.qat.operators import OPERATORS
from jetseg.compress.qat.quantizers import ActivationQuantizer, Ranges, WeightQuantizer, units
from jetseg.errors import ArtifactError
from jetseg.onnx.graph import Graph


class OnnxModule(nn.Module):
    """Computes what an ONNX graph computes.

    Trained are the weights and biases of matrix layers and of layer normalizations, slopes of PRelu, and the scales of
    activations. Other constants, those of batch normalization among them, stay as they are. Weights move in units
    of their own size; see `jetseg.compress.qat.quantizers.units`.

    Args:
        model: A float network, or one with symmetric int8 QuantizeLinear and DequantizeLinear pairs. It has one
            input beside its weights.
        outputs: Tensors to compute; by default the only output of the graph.
        ranges: "learned" trains the scales of activations, "fixed" keeps them.

    Raises:
        ArtifactError: An operator is not supported, or a quantizer is not symmetric int8.
    """

    def __init__(self, model: onnx.ModelProto, outputs: Sequence[str] = (), ranges: Ranges = "learned") -> None:
        super().__init__()
        graph = Graph(model)
        check_opset(graph)
        self.input_name = _only("input", graph.inputs)
        self.output_names = tuple(outputs) or (_only("output", graph.outputs),)
        nodes, constants = read_graph(graph, self.output_names)
        trained = trained_names(graph, nodes, constants)
        self.weight_names = tuple(name for name in constants if name in trained)
        """Initializers that are trained, in the order of `weights`."""
        self.changes = nn.ParameterList()
        """How far each trained weight is from its start, in its units, in the order of `weight_names`."""
        self.activations = nn.ModuleDict()
        self.weight_quantizers = nn.ModuleDict()
        self.quantizer_of: dict[str, str] = {}
        """Quantized tensor, as it is before rounding -> key of its quantizer."""
        self.scale_sources: dict[str, str] = {}
        """Initializer that holds a scale -> tensor that is quantized with it."""
        for node in nodes:
            if node.operator == PAIR[0]:
                self._add_quantizer(node, constants, ranges)
            elif node.operator == PAIR[1]:
                check_pair(node, graph, constants)
            else:
                check_trainable(graph, node)
        self._keep_starts(constants)
        nodes = [replace(node, inputs=node.inputs[:1]) if node.operator in PAIR else node for node in nodes]
        self._steps = with_releases(nodes, self.output_names)
        sizes = {name for node in nodes if node.operator == "Resize" for name in node.inputs[1:]}
        self._keep_constants(constants, {name for node in nodes for name in node.inputs}, sizes)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The trained initializers as they are now, by name."""
        return {
            name: torch.addcmul(getattr(self, f"start_{index}"), change, getattr(self, f"unit_{index}"))
            for index, (name, change) in enumerate(zip(self.weight_names, self.changes, strict=True))
        }

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Runs the graph; returns its output, or a tuple of several.

        Args:
            x: The graph's input; another batch or size than the graph's is fine if nothing in it is fixed to that.

        Raises:
            ArtifactError: An operator cannot take what it is given; the node is named.
        """
        values: dict[str, Tensor] = {self.input_name: x, **self._integers}
        values.update((name, getattr(self, key)) for name, key in self._buffer_keys.items())
        values.update(self.weights)
        for node, unused in self._steps:
            results = self._run(node, [values[name] if name else None for name in node.inputs])
            results = results if isinstance(results, tuple) else (results,)
            values.update(zip(node.outputs, results, strict=False))
            for name in unused:
                values.pop(name, None)
        found = tuple(values[name] for name in self.output_names)
        return found[0] if len(found) == 1 else found

    def _run(self, node: Node, inputs: Sequence[Tensor | None]) -> Result:
        x = inputs[0] if inputs else None
        if node.operator == PAIR[1] and x is not None:
            return x
        if node.operator == PAIR[0] and x is not None:
            source = node.inputs[0]
            quantizers = self.weight_quantizers if source in self.weight_names else self.activations
            rounded: Tensor = quantizers[self.quantizer_of[source]](x)
            return rounded
        try:
            return OPERATORS[node.operator](node, inputs)
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            shapes = ", ".join(str(list(value.shape)) for value in inputs if value is not None)
            raise ArtifactError(
                f"Node {node.name} ({node.operator}) cannot be computed on shapes {shapes}: "
                f"{str(error).splitlines()[0]}"
            ) from error

    def scales(self) -> dict[str, Tensor]:
        """Returns the present scale of each quantized tensor, by the tensor's name before rounding."""
        found: dict[str, Tensor] = {}
        with torch.no_grad():
            weights = self.weights
            for name, key in self.quantizer_of.items():
                if name in weights:
                    quantizer = self.weight_quantizers[key]
                    found[name] = quantizer.scale(weights[name])  # type: ignore[operator]
                else:
                    found[name] = self.activations[key].scale  # type: ignore[assignment]
        return found

    def _add_quantizer(self, node: Node, constants: dict[str, Tensor], ranges: Ranges) -> None:
        """Adds the quantizer of one tensor; activations that start with the very same scale share theirs."""
        source, scale = node.inputs[0], checked_scale(node, constants)
        partner = self.scale_sources.setdefault(node.inputs[1], source)
        if source in constants:
            if source not in self.weight_names or partner != source:
                raise asymmetric(node, f"{source} is no weight of a layer with scales of its own")
            key = str(self.weight_names.index(source))
            quantizer = WeightQuantizer(constants[source], scale, node.get("axis", 1))
            first = dict(self.weight_quantizers.items()).get(key, quantizer)
            if not torch.equal(first.of_zeros, quantizer.of_zeros):  # type: ignore[arg-type]
                raise asymmetric(node, f"{source} is quantized with other scales as well")
            self.weight_quantizers[key] = first
        elif scale.numel() != 1:
            raise asymmetric(node, "an activation has a scale per channel")
        else:
            key = float(scale).hex().replace(".", "_")
            if key not in self.activations:
                self.activations[key] = ActivationQuantizer(scale, ranges)
        if self.quantizer_of.setdefault(source, key) != key:
            raise asymmetric(node, f"{source} is quantized with another scale as well")

    def _keep_starts(self, constants: dict[str, Tensor]) -> None:
        """Splits the trained weights into their start and a change of it, which is what an optimizer sees."""
        for index, name in enumerate(self.weight_names):
            key = self.quantizer_of.get(name)
            unit = units(constants[name], None if key is None else self.weight_quantizers[key].axes)  # type: ignore[arg-type]
            self.register_buffer(f"start_{index}", constants[name], persistent=False)
            self.register_buffer(f"unit_{index}", unit, persistent=False)
            self.changes.append(nn.Parameter(torch.zeros_like(unit)))

    def _keep_constants(self, constants: dict[str, Tensor], used: set[str], sizes: set[str]) -> None:
        """Keeps floats where the module is, and integers and scales, which are shapes and indices, on the CPU."""
        self._integers: dict[str, Tensor] = {}
        self._buffer_keys: dict[str, str] = {}
        for name in sorted(used & (set(constants) - set(self.weight_names) - set(self.scale_sources))):
            if constants[name].is_floating_point() and name not in sizes:
                self._buffer_keys[name] = f"constant_{len(self._buffer_keys)}"
                self.register_buffer(self._buffer_keys[name], constants[name], persistent=False)
            else:
                self._integers[name] = constants[name]


def _only(role: str, names: Sequence[str]) -> str:
    if len(names) != 1:
        raise ArtifactError(
            f"The network has {len(names)} {role}s ({', '.join(names)}); training needs exactly one.",
            "Export it with one input and one output.",
        )
    return names[0]
