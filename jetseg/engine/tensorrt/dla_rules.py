"""Which layers the deep-learning accelerator of an Orin takes, by what NVIDIA publishes; no device told it.

Each rule names its source:

- [page] "DLA Supported Layers and Restrictions", docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/
  dla-layer-restrictions.html: general restrictions and the summary table, as far as parametric ReLU.
- [guide] the section of that name in the TensorRT 8 Developer Guide, which gives the numbers layer by layer.
- [resize] the Python documentation of `IResizeLayer`, github.com/NVIDIA/TensorRT.
- [operators] the ONNX operators on Orin's DLA, github.com/NVIDIA/Deep-Learning-Accelerator-SW, operators/README.md.

What none of them gives is left to the GPU, and so are fully connected layers: here a network has four dimensions
throughout. TensorRT itself decides at build time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from onnx import TensorProto

from jetseg.engine.tensorrt.dla_layers import Layer

_LARGEST_SIZE, _LARGEST_BATCH = 8192, 4096  # [page]
_FREELY = frozenset({"Relu", "Sigmoid", "Tanh", "LeakyRelu", "Abs", "BatchNormalization"})
"""Operators without a limit of their own: activations [page], a Unary layer and a Scale layer [guide]."""
_PAIRS = frozenset({"Add", "Sub", "Mul", "Max", "Min", "Div", "Pow"})  # [page]
_SCALES = frozenset({"Add", "Sub", "Mul"})
_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16})
_BUFFER_BANKS, _BANK_BYTES, _BANK_ENTRIES = 16, 32768, 256


def dla_refusal(layer: Layer) -> str | None:
    """Returns why the DLA does not take a node; None if it does."""
    graph, node = layer.graph, layer.node
    read = [name for position, name in enumerate(node.input) if name and not layer.is_constant(position)]
    data = [*read, *(name for name in node.output if name)]
    if any(graph.types.get(name) not in _FLOATS for name in data):
        return "it touches integers or an unknown type"
    for name in data:
        reason = _size_refusal(graph.shapes.get(name))
        if reason:
            return reason
    if node.op_type in _FREELY:
        return None
    rule = _RULES.get(node.op_type)
    return rule(layer) if rule else f"{node.op_type} is not among the DLA's operators"


Rule = Callable[[Layer], str | None]


def _size_refusal(shape: tuple[int | None, ...] | None) -> str | None:
    """General restrictions [page]."""
    if shape is None or None in shape:
        return "a shape is not fixed"
    if len(shape) != 4:
        return f"a tensor has {len(shape)} dimensions, and 4 are needed"
    batch, *sizes = (size or 0 for size in shape)
    if max(sizes) > _LARGEST_SIZE:
        return f"a dimension is larger than {_LARGEST_SIZE}"
    return f"the batch is larger than {_LARGEST_BATCH}" if batch > _LARGEST_BATCH else None


def _convolution(layer: Layer) -> str | None:
    """Kernel, stride and weights [page]; padding, dilation and the buffer [guide]."""
    if not layer.is_constant(1):
        return "its weights are computed"
    kernel, pads = layer.shape(layer.node.input[1])[2:], layer.integers("pads")
    if any(pad >= size for pad, size in zip(pads, kernel * 2, strict=False) if size is not None):
        return f"pads {list(pads)} reach as far as the kernel"
    return (
        layer.beyond("kernel_shape", (1, 32))
        or layer.beyond("strides", (1, 8))
        or layer.beyond("pads", (0, 31))
        or layer.beyond("dilations", (1, 32))
        or _buffer(layer)
    )


def _buffer(layer: Layer) -> str | None:
    """One kernel and the rows below it must fit into the convolution buffer, here in fp16 [guide]."""
    frame, kernel = layer.shape(layer.node.input[0]), layer.shape(layer.node.input[1])
    if None in kernel or len(kernel) != 4 or layer.number("group", 1) != 1:
        return None
    _, channels, _, width = (size or 0 for size in frame)
    _, _, height, kernel_width = (size or 0 for size in kernel)
    reach = (height - 1) * next(iter(layer.integers("dilations")), 1) + 1
    weights = math.ceil(math.ceil(channels * height * kernel_width * 2 / 128) * 128 / _BANK_BYTES)
    rows = math.ceil(math.ceil(math.ceil(channels * 2 / 32) * width / 4) * reach / _BANK_ENTRIES)
    if weights + rows <= _BUFFER_BANKS:
        return None
    return f"it needs {weights + rows} banks of the convolution buffer, of which there are {_BUFFER_BANKS}"


def _deconvolution(layer: Layer) -> str | None:
    """Groups, dilation and padding [page]; sizes [guide], which also lets some long kernels through."""
    if layer.number("group", 1) != 1:
        return "a transposed convolution has groups"
    if any(size != 1 for size in layer.integers("dilations")):
        return "a transposed convolution is dilated"
    if any(layer.integers("pads")) or any(layer.integers("output_padding")):
        return "a transposed convolution is padded"
    return layer.beyond("kernel_shape", (1, 22)) or layer.beyond("strides", (1, 22))


def _pooling(layer: Layer) -> str | None:
    """Window, padding and stride [guide]."""
    return layer.beyond("kernel_shape", (1, 8)) or layer.beyond("pads", (0, 7)) or layer.beyond("strides", (1, 16))


def _clip(layer: Layer) -> str | None:
    """A clipped ReLU [page], up to 127 [guide]."""
    low, high = layer.constant(1), layer.constant(2)
    if low is None or high is None or low.size != 1 or high.size != 1:
        return "the bounds of a Clip are missing or computed"
    if float(low.item()) != 0:
        return "a Clip does not begin at 0"
    return None if 1 <= float(high.item()) <= 127 else "a Clip ends beyond 1 to 127"


def _prelu(layer: Layer) -> str | None:
    """Slopes that are fixed when it is built [page]."""
    return None if layer.is_constant(1) else "its slopes are computed"


def _response(layer: Layer) -> str | None:
    """A window of few sizes, across channels [page], as ONNX's normalization runs anyway."""
    return None if layer.number("size", 0) in (3, 5, 7, 9) else "its window is not 3, 5, 7 or 9"


def _pair(layer: Layer) -> str | None:
    """Two operands of one size [page]; or a Scale layer: one constant for all, per channel or per element [guide]."""
    output = layer.shape(layer.node.output[0])
    for position, name in enumerate(layer.node.input):
        shape = (1,) * (4 - len(layer.shape(name))) + layer.shape(name)
        scales = layer.node.op_type in _SCALES and layer.is_constant(position)
        if shape != output and not (scales and shape in ((1, 1, 1, 1), (1, output[1], 1, 1), (1, *output[1:]))):
            return f"an operand of shape {list(shape)} is spread over {list(output)}"
    return None


def _concat(layer: Layer) -> str | None:
    """Of several tensors, along their channels [page]."""
    if len(layer.node.input) < 2:
        return "it joins a single tensor"
    return None if layer.number("axis", 1) in (1, -3) else "it joins along another axis than the channels"


def _resize(layer: Layer) -> str | None:
    """Factors [guide]; coordinates and rounding [resize]."""
    before, after = layer.shape(layer.node.input[0]), layer.shape(layer.node.output[0])
    scales = [new / old for old, new in zip(before[2:], after[2:], strict=True) if old and new]
    mode = layer.text("mode", "nearest")
    largest = {"nearest": 32, "linear": 4}.get(mode)
    if largest is None:
        return f"it resizes by {mode} interpolation"
    if before[:2] != after[:2] or any(scale != math.floor(scale) or not 1 <= scale <= largest for scale in scales):
        given = " x ".join(f"{scale:g}" for scale in scales)
        return f"it resizes by {given}; {mode} takes whole numbers from 1 to {largest}"
    how = layer.text("coordinate_transformation_mode", "half_pixel")
    if mode == "linear":
        return None if how.endswith("half_pixel") else f"linear interpolation with {how} coordinates"
    rounding = layer.text("nearest_mode", "round_prefer_floor")
    allowed = {"asymmetric": ("floor",), "half_pixel": ("round_prefer_floor", "round_prefer_ceil")}
    return None if rounding in allowed.get(how, ()) else f"nearest neighbors by {rounding} with {how} coordinates"


def _softmax(layer: Layer) -> str | None:
    """On Orin, not on Xavier [guide]."""
    shape = layer.shape(layer.node.input[0])
    axis = int(layer.number("axis", -1)) % 4
    if axis == 0:
        return "it runs over the batch"
    alone = all(size == 1 for position, size in enumerate(shape) if position not in (0, axis))
    values = shape[axis] or 0
    return None if alone or values <= 1024 else f"it runs over {values} values, and the DLA takes 1024"


def _slice(layer: Layer) -> str | None:
    """Static bounds, and not along the batch [guide]; a Split becomes slices [operators]."""
    bounds = [position for position, name in enumerate(layer.node.input) if name and position > 0]
    if any(layer.constant(position) is None for position in bounds):
        return "its bounds are computed"
    return _shuffle(layer)


def _shuffle(layer: Layer) -> str | None:
    """Transposing and reshaping [operators], with one batch size within a loadable [page]."""
    before = layer.shape(layer.node.input[0])[0]
    kept = all(layer.shape(name)[0] == before for name in layer.node.output)
    return None if kept and next(iter(layer.integers("perm")), 0) == 0 else "it touches the batch"


_RULES: dict[str, Rule] = {
    "Conv": _convolution,
    "ConvTranspose": _deconvolution,
    "MaxPool": _pooling,
    "AveragePool": _pooling,
    "Clip": _clip,
    "PRelu": _prelu,
    "LRN": _response,
    "Concat": _concat,
    "Resize": _resize,
    "Softmax": _softmax,
    "Slice": _slice,
    "Split": _slice,
    "Transpose": _shuffle,
    "Reshape": _shuffle,
    **dict.fromkeys(_PAIRS, _pair),
}
