"""A LiteRT file as an object that can be read and changed: a flatbuffer of tensors, operators and constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from jetseg.engine.litert.library import load_schema
from jetseg.errors import ArtifactError

Values = npt.NDArray[Any]


class ModelFile:
    """The network of a LiteRT file.

    Args:
        content: The file.

    Raises:
        ArtifactError: It is no LiteRT file, or holds several networks.
        MissingDependencyError: ai-edge-litert is not installed.
    """

    def __init__(self, content: bytes) -> None:
        self._schema = load_schema()
        if content[4:8] != b"TFL3":
            raise ArtifactError("This is no LiteRT file.", "Give a file whose name ends in .tflite.")
        self._model = self._schema.ModelT.InitFromObj(self._schema.Model.GetRootAs(bytearray(content), 0))
        if len(self._model.subgraphs) != 1:
            raise ArtifactError(f"The LiteRT file holds {len(self._model.subgraphs)} graphs.", "Give one with one.")
        self._graph = self._model.subgraphs[0]
        self.added: dict[int, Values] = {}
        """Constants that were added, by tensor."""
        self._kinds = {code: name for name, code in vars(self._schema.BuiltinOperator).items() if name[0] != "_"}
        self._types = {code: name for name, code in vars(self._schema.TensorType).items() if name[0] != "_"}

    @property
    def operators(self) -> list[Any]:
        """The operators, in the order of execution."""
        operators: list[Any] = self._graph.operators
        return operators

    @property
    def tensors(self) -> list[Any]:
        """The tensors; operators name them by their place."""
        tensors: list[Any] = self._graph.tensors
        return tensors

    @property
    def inputs(self) -> list[int]:
        """The tensors that go in."""
        return [int(place) for place in self._graph.inputs]

    @property
    def outputs(self) -> list[int]:
        """The tensors that come out."""
        return [int(place) for place in self._graph.outputs]

    def kind(self, operator: Any) -> str:  # noqa: ANN401 - a class of the schema
        """Returns the name of an operator, as in "CONV_2D"."""
        code = self._model.operatorCodes[operator.opcodeIndex]
        return str(self._kinds[max(code.builtinCode, code.deprecatedBuiltinCode)])

    def type(self, place: int) -> str:
        """Returns the type of a tensor, as in "INT8"."""
        return str(self._types[self.tensors[place].type])

    def constant(self, place: int) -> Values | None:
        """Returns the values of a constant tensor; None for one that is computed."""
        if place < 0:
            return None
        tensor = self.tensors[place]
        data = self._model.buffers[tensor.buffer].data
        if data is None or not len(data):
            return None
        kind = _NUMPY_TYPES.get(self.type(place))
        if kind is None:
            return None
        return np.frombuffer(np.asarray(data, np.uint8).tobytes(), kind).reshape([int(n) for n in tensor.shape])

    def readers(self) -> dict[int, list[Any]]:
        """Returns the operators that read each tensor."""
        found: dict[int, list[Any]] = {}
        for operator in self.operators:
            for place in dict.fromkeys(int(place) for place in operator.inputs):
                found.setdefault(place, []).append(operator)
        return found

    def add_constant(self, name: str, values: Values, scale: Values | None = None, axis: int = 0) -> int:
        """Adds a constant tensor, quantized with zero points of 0 where a scale is given; returns its place."""
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        place = self.add_tensor(name, values.shape, _TYPE_NAMES[values.dtype.name])
        self.tensors[place].buffer = len(self._model.buffers) - 1
        if scale is not None:
            self.quantize(place, scale, [0] * len(scale), axis)
        self.added[place] = values
        return place

    def add_tensor(self, name: str, shape: Sequence[int], kind: str) -> int:
        """Adds a tensor that an operator makes; returns its place."""
        tensor = self._schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name.encode(), [int(size) for size in shape], 0
        tensor.type, tensor.hasRank = getattr(self._schema.TensorType, kind), True
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def retype(self, place: int, kind: str) -> None:
        """Gives a computed tensor another type."""
        self.tensors[place].type = getattr(self._schema.TensorType, kind)

    def quantize(self, place: int, scale: Sequence[float] | Values, zero_point: Sequence[int], axis: int = 0) -> None:
        """Notes how a tensor's integers are meant: one scale, or one per channel of an axis."""
        made = self._schema.QuantizationParametersT()
        made.scale = np.asarray(scale, np.float32)
        made.zeroPoint = np.asarray(zero_point, np.int64)
        made.quantizedDimension = axis
        self.tensors[place].quantization = made

    def quantization(self, place: int) -> tuple[Values, Values] | None:
        """Returns scales and zero points of a tensor; None if it is not quantized."""
        found = self.tensors[place].quantization
        if found is None or found.scale is None or not len(found.scale):
            return None
        return np.asarray(found.scale, np.float32), np.asarray(found.zeroPoint, np.int64)

    def make_operator(self, kind: str, source: int, result: int) -> Any:  # noqa: ANN401 - a class of the schema
        """Returns a new operator of one input and one output, without options; the caller gives it its place."""
        operator = self._schema.OperatorT()
        operator.opcodeIndex = self._code(kind)
        operator.inputs, operator.outputs = [source], [result]
        return operator

    def set_operators(self, operators: list[Any]) -> None:
        """Replaces the operators, in the order of execution."""
        self._graph.operators = operators

    def set_ends(self, inputs: list[int], outputs: list[int]) -> None:
        """Replaces the tensors that go in and come out, in the signatures as well."""
        moved = dict(zip([*self.inputs, *self.outputs], [*inputs, *outputs], strict=True))
        self._graph.inputs, self._graph.outputs = inputs, outputs
        for signature in self._model.signatureDefs or ():
            for end in (*signature.inputs, *signature.outputs):
                end.tensorIndex = moved[end.tensorIndex]

    def to_bytes(self) -> bytes:
        """Returns the file."""
        import flatbuffers  # comes with ai-edge-litert

        self._drop_unused()
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _code(self, kind: str) -> int:
        wanted = getattr(self._schema.BuiltinOperator, kind)
        for place, code in enumerate(self._model.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == wanted:
                return place
        code = self._schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = wanted, min(wanted, 127), _VERSIONS[kind]
        self._model.operatorCodes.append(code)
        return len(self._model.operatorCodes) - 1

    def _drop_unused(self) -> None:
        """Empties the buffers of constants that nobody reads any more: the float weights."""
        read = {int(place) for operator in self.operators for place in operator.inputs}
        for place, tensor in enumerate(self.tensors):
            if place not in read and place not in self.outputs and tensor.buffer:
                shared = any(other.buffer == tensor.buffer for index, other in enumerate(self.tensors) if index in read)
                if not shared:
                    self._model.buffers[tensor.buffer].data = None


_NUMPY_TYPES: dict[str, npt.DTypeLike] = {
    "FLOAT32": np.float32,
    "FLOAT16": np.float16,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
}
_TYPE_NAMES = {np.dtype(kind).name: name for name, kind in _NUMPY_TYPES.items()}
_VERSIONS = {"QUANTIZE": 2, "DEQUANTIZE": 3}
"""Of operators that are added: the first ones that know all types here."""
