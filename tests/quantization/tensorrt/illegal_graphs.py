"""A network that is legal for TensorRT, and every way to break it."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

SCALE = np.float32(0.05)


class Network:
    """Builds a Q/DQ network; `call` returns the name of the tensor that a node writes."""

    def __init__(self):
        self.nodes, self.initializers = [], []
        self.rng = np.random.default_rng(0)

    def constant(self, name, values, dtype=np.float32):
        self.initializers.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name

    def call(self, operator, inputs, output, **attributes):
        self.nodes.append(helper.make_node(operator, inputs, [output], f"{output}.node", **attributes))
        return output

    def quantized(self, tensor, scale=SCALE, **attributes):
        """A quantizer and a dequantizer after a float tensor."""
        numbers = [
            self.constant(f"{tensor}.scale", scale),
            self.constant(f"{tensor}.zero", np.zeros_like(scale), np.int8),
        ]
        integers = self.call("QuantizeLinear", [tensor, *numbers], f"{tensor}.q", **attributes)
        return self.call("DequantizeLinear", [integers, *numbers], f"{tensor}.dq", **attributes)

    def weight(self, name, shape, axis):
        """A float weight with its pair."""
        self.constant(name, self.rng.normal(0, 0.3, shape))
        return self.quantized(name, np.full(shape[axis], 0.01, np.float32), axis=axis)

    def integer_weight(self, name, shape, axis):
        """An int8 weight with its dequantizer."""
        self.constant(name, self.rng.integers(-127, 128, shape), np.int8)
        scale = self.constant(f"{name}.scale", np.full(shape[axis], 0.003))
        zero = self.constant(f"{name}.zero", np.zeros(shape[axis]), np.int8)
        return self.call("DequantizeLinear", [name, scale, zero], f"{name}.dq", axis=axis)

    def norm(self, tensor, output, channels):
        numbers = [self.constant(f"{output}.{key}", self.rng.uniform(0.5, 1.5, channels)) for key in "gbmv"]
        return self.call("BatchNormalization", [tensor, *numbers], output)


def good_network():
    """Both ways to write a weight, a residual addition, a concatenation, a transposed convolution, a Gemm."""
    net, same = Network(), {"pads": [1, 1, 1, 1]}
    image = net.quantized("image")
    c1 = net.call("Conv", [image, net.weight("w1", (8, 3, 3, 3), 0), net.constant("b1", np.ones(8))], "c1", **same)
    r1 = net.quantized(net.call("Relu", [net.norm(c1, "n1", 8)], "r1"))
    c2 = net.call("Conv", [r1, net.integer_weight("w2", (8, 8, 3, 3), 0)], "c2", **same)
    r2 = net.call("Relu", [net.call("Add", [c2, r1], "sum")], "r2")
    pooled = net.call("MaxPool", [r1], "pooled", kernel_shape=[3, 3], **same)
    both = net.quantized(net.call("Concat", [r2, pooled], "both", axis=1))
    up = net.call("ConvTranspose", [both, net.weight("w3", (16, 6, 2, 2), 1)], "up", strides=[2, 2])
    slope = net.constant("slope", np.full((6, 1, 1), 0.1))
    p3 = net.quantized(net.call("PRelu", [net.norm(up, "n3", 6), slope], "p3"))
    net.call("Conv", [p3, net.weight("w4", (2, 6, 1, 1), -4)], "logits")
    flat = net.quantized(net.call("Flatten", [net.call("GlobalAveragePool", [p3], "mean")], "flat"))
    net.call("Gemm", [flat, net.weight("w5", (3, 6), 0)], "scores", transB=1)
    product = net.quantized(net.call("MatMul", [flat, net.weight("w6", (1, 6, 4), 2)], "product"))
    turned = net.call("Transpose", [net.weight("w7", (5, 4), 0)], "turned", perm=[1, 0])
    net.call("MatMul", [product, turned], "scene")
    shapes = {"image": [1, 3, 12, 16], "logits": [1, 2, 24, 32], "scores": [1, 3], "scene": [1, 1, 5]}
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    graph = helper.make_graph(net.nodes, "good", ports[:1], ports[1:], net.initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def node_of(model, output):
    return next(node for node in model.graph.node if output in node.output)


def set_constant(model, name, values, dtype=np.float32):
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))


def add_constant(model, name, values, dtype=np.float32):
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
    return name


def read(model, reader, old, new):
    """Lets the node that writes `reader` read `new` instead of `old`."""
    node = node_of(model, reader)
    node.input[list(node.input).index(old)] = new


def quantize(model, tensor, reader, zero_point=None, scale=SCALE):
    """Puts a pair between a tensor and one of its readers."""
    numbers = [add_constant(model, f"{tensor}.s", scale)]
    numbers.append(zero_point or add_constant(model, f"{tensor}.z", 0, np.int8))
    made = [
        helper.make_node("QuantizeLinear", [tensor, *numbers], [f"{tensor}.q2"]),
        helper.make_node("DequantizeLinear", [f"{tensor}.q2", *numbers], [f"{tensor}.dq2"]),
    ]
    read(model, reader, tensor, f"{tensor}.dq2")
    position = list(model.graph.node).index(node_of(model, reader))
    for node in reversed(made):
        model.graph.node.insert(position, node)


def unsigned_activation(model):
    set_constant(model, "image.zero", 0, np.uint8)


def unsigned_by_default(model):
    for output in ("image.q", "image.dq"):
        del node_of(model, output).input[2]


def unsigned_weight(model):
    set_constant(model, "w2", np.full((8, 8, 3, 3), 3), np.uint8)
    set_constant(model, "w2.zero", np.zeros(8), np.uint8)


def integer_bias(model):
    numbers = [add_constant(model, "b", np.ones(8), np.int32), add_constant(model, "b.scale", np.full(8, 0.01))]
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", numbers, ["b.dq"], axis=0))
    node_of(model, "c2").input.append("b.dq")


def shifted_activation(model):
    set_constant(model, "image.zero", 3, np.int8)


def shifted_weight(model):
    set_constant(model, "w2.zero", np.arange(8), np.int8)


def zero_scale(model):
    set_constant(model, "image.scale", 0.0)


def negative_scale(model):
    set_constant(model, "w1.scale", [-0.01] + [0.01] * 7)


def infinite_scale(model):
    set_constant(model, "r1.scale", np.inf)


def undefined_scale(model):
    set_constant(model, "w2.scale", [np.nan] + [0.01] * 7)


def computed_scale(model):
    add_constant(model, "one", 1.0)
    model.graph.node.insert(0, helper.make_node("Mul", ["image.scale", "one"], ["computed"]))
    for output in ("image.q", "image.dq"):
        read(model, output, "image.scale", "computed")


def computed_zero_point(model):
    model.graph.node.insert(0, helper.make_node("Identity", ["image.zero"], ["computed"]))
    for output in ("image.q", "image.dq"):
        read(model, output, "image.zero", "computed")


def activation_by_channel(model):
    set_constant(model, "r1.scale", np.linspace(0.02, 0.05, 8))
    set_constant(model, "r1.zero", np.zeros(8), np.int8)


def set_axis(model, weight, axis, channels, outputs):
    set_constant(model, f"{weight}.scale", np.full(channels, 0.01))
    set_constant(model, f"{weight}.zero", np.zeros(channels), np.int8)
    for output in outputs:
        node = node_of(model, output)
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("axis", axis))


def conv_weight_on_input_axis(model):
    set_axis(model, "w1", 1, 3, ["w1.q", "w1.dq"])


def transposed_weight_on_input_axis(model):
    set_axis(model, "w3", 0, 16, ["w3.q", "w3.dq"])


def gemm_weight_on_input_axis(model):
    set_axis(model, "w5", 1, 6, ["w5.q", "w5.dq"])


def matmul_weight_on_input_axis(model):
    set_axis(model, "w6", 1, 6, ["w6.q", "w6.dq"])


def turned_weight_on_input_axis(model):
    set_axis(model, "w7", 1, 4, ["w7.q", "w7.dq"])


def constant_operand_by_channel(model):
    """A constant that is added is no layer's weight."""
    add_constant(model, "shift", np.ones((1, 8, 1, 1)))
    numbers = [add_constant(model, "shift.scale", np.full(8, 0.01)), add_constant(model, "shift.z", [0] * 8, np.int8)]
    model.graph.node.insert(0, helper.make_node("QuantizeLinear", ["shift", *numbers], ["shift.q"], axis=1))
    model.graph.node.insert(1, helper.make_node("DequantizeLinear", ["shift.q", *numbers], ["shift.dq"], axis=1))
    read(model, "sum", "r1.dq", "shift.dq")


def quantizer_before_norm(model):
    quantize(model, "c1", "n1")


def quantizer_before_norm_of_transposed(model):
    quantize(model, "up", "n3")


def quantizer_before_activation(model):
    quantize(model, "n1", "r1")


def quantizer_before_prelu(model):
    quantize(model, "n3", "p3")


def quantizer_on_fused_operand(model):
    quantize(model, "c2", "sum")


def quantizer_on_fused_operand_behind_a_norm(model):
    position = list(model.graph.node).index(node_of(model, "sum"))
    norm = helper.make_node("BatchNormalization", ["c2", *(f"n1.{key}" for key in "gbmv")], ["n2"])
    model.graph.node.insert(position, norm)
    read(model, "sum", "c2", "n2")
    quantize(model, "n2", "sum")


def other_scale_after(model):
    add_constant(model, "other", 0.02)
    read(model, "image.dq", "image.scale", "other")


def other_zero_point_after(model):
    add_constant(model, "other", 1, np.int8)
    read(model, "image.dq", "image.zero", "other")


def other_axis_after(model):
    del node_of(model, "w1.q").attribute[:]


def quantizer_without_dequantizer(model):
    model.graph.node.append(helper.make_node("QuantizeLinear", ["p3", "p3.scale", "p3.zero"], ["lone"]))


def integer_reader(model):
    numbers = ["p3.scale", "p3.zero"]
    model.graph.node.append(helper.make_node("QuantizeLinear", ["p3", *numbers], ["odd"]))
    model.graph.node.append(helper.make_node("DequantizeLinear", ["odd", *numbers], ["odd.dq"]))
    model.graph.node.append(helper.make_node("MaxPool", ["odd"], ["odd.pool"], kernel_shape=[1, 1]))
    model.graph.node.append(helper.make_node("DequantizeLinear", ["odd.pool", *numbers], ["odd.pool.dq"]))
    for name in ("odd.dq", "odd.pool.dq"):
        model.graph.node.append(helper.make_node("Relu", [name], [f"{name}.relu"]))
        model.graph.output.append(helper.make_tensor_value_info(f"{name}.relu", TensorProto.FLOAT, [1, 6, 24, 32]))


def unread_dequantizer(model):
    model.graph.node.append(helper.make_node("DequantizeLinear", ["p3.q", "p3.scale", "p3.zero"], ["unread"]))


def quantized_output(model):
    numbers = [add_constant(model, "l.scale", SCALE), add_constant(model, "l.zero", 0, np.int8)]
    node_of(model, "logits").output[0] = "l"
    model.graph.node.append(helper.make_node("QuantizeLinear", ["l", *numbers], ["l.q"]))
    model.graph.node.append(helper.make_node("DequantizeLinear", ["l.q", *numbers], ["logits"]))


def integer_output(model):
    model.graph.output.append(helper.make_tensor_value_info("p3.q", TensorProto.INT8, [1, 6, 24, 32]))


def integer_convolution(model):
    model.graph.node.insert(3, helper.make_node("ConvInteger", ["image.q", "ci.w"], ["ci"]))
    add_constant(model, "ci.w", np.ones((1, 3, 1, 1)), np.int8)
    model.graph.node.append(helper.make_node("Cast", ["ci"], ["ci.f"], to=TensorProto.FLOAT))
    model.graph.output.append(helper.make_tensor_value_info("ci.f", TensorProto.FLOAT, [1, 1, 12, 16]))


def quantized_convolution(model):
    numbers = ["image.scale", "image.zero"]
    add_constant(model, "qc.w", np.ones((1, 3, 1, 1)), np.int8)
    inputs = ["image.q", *numbers, "qc.w", *numbers, *numbers]
    model.graph.node.append(helper.make_node("QLinearConv", inputs, ["qc"]))
    model.graph.node.append(helper.make_node("DequantizeLinear", ["qc", *numbers], ["qc.dq"]))
    model.graph.node.append(helper.make_node("Relu", ["qc.dq"], ["qc.f"]))
    model.graph.output.append(helper.make_tensor_value_info("qc.f", TensorProto.FLOAT, [1, 1, 12, 16]))


def unpooling(model):
    add_constant(model, "places", np.arange(8 * 12 * 16).reshape(1, 8, 12, 16), np.int64)
    model.graph.node.append(helper.make_node("MaxUnpool", ["r1", "places"], ["unpooled"], kernel_shape=[1, 1]))
    model.graph.output.append(helper.make_tensor_value_info("unpooled", TensorProto.FLOAT, [1, 8, 12, 16]))


def deformable(model):
    model.opset_import[0].version = 19
    add_constant(model, "d.w", np.ones((1, 8, 1, 1)))
    add_constant(model, "d.o", np.zeros((1, 2, 12, 16)))
    model.graph.node.append(helper.make_node("DeformConv", ["r1", "d.w", "d.o"], ["d"]))
    model.graph.output.append(helper.make_tensor_value_info("d", TensorProto.FLOAT, [1, 1, 12, 16]))


BREACHES = [
    (unsigned_activation, "image.q", "uses uint8"),
    (unsigned_by_default, "image.q", "uses uint8"),
    (unsigned_weight, "w2.dq", "uses uint8"),
    (integer_bias, "b.dq", "a bias is quantized to int32"),
    (shifted_activation, "image.q", "zero point is not 0"),
    (shifted_weight, "w2.dq", "zero point is not 0"),
    (computed_zero_point, "image.q", "zero point is computed"),
    (zero_scale, "image.q", "positive finite"),
    (negative_scale, "w1.q", "positive finite"),
    (infinite_scale, "r1.q", "positive finite"),
    (undefined_scale, "w2.dq", "positive finite"),
    (computed_scale, "image.q", "scale is computed"),
    (activation_by_channel, "r1.dq", "an activation has a scale per channel"),
    (conv_weight_on_input_axis, "w1.dq", "of Conv has scales of shape [3] on axis 1"),
    (transposed_weight_on_input_axis, "w3.dq", "of ConvTranspose has scales of shape [16] on axis 0"),
    (gemm_weight_on_input_axis, "w5.dq", "of Gemm has scales of shape [6] on axis 1"),
    (matmul_weight_on_input_axis, "w6.dq", "of MatMul has scales of shape [6] on axis 1"),
    (turned_weight_on_input_axis, "w7.dq", "of MatMul has scales of shape [4] on axis 1"),
    (constant_operand_by_channel, "shift.dq", "no layer's weight"),
    (quantizer_before_norm, "c1", "the BatchNormalization that fuses"),
    (quantizer_before_norm_of_transposed, "up", "the BatchNormalization that fuses"),
    (quantizer_before_activation, "n1", "the Relu that fuses"),
    (quantizer_before_prelu, "n3", "the PRelu that fuses"),
    (quantizer_on_fused_operand, "sum", "every convolution that this Add could be fused with"),
    (quantizer_on_fused_operand_behind_a_norm, "sum", "every convolution that this Add could be fused with"),
    (other_scale_after, "image.dq", "is not that of its QuantizeLinear"),
    (other_zero_point_after, "image.dq", "is not that of its QuantizeLinear"),
    (other_axis_after, "w1.dq", "is not that of its QuantizeLinear"),
    (quantizer_without_dequantizer, "lone", "read by nothing"),
    (integer_reader, "odd", "read by MaxPool"),
    (unread_dequantizer, "unread", "nothing reads"),
    (quantized_output, "logits", "DequantizeLinear makes a graph output"),
    (integer_output, "p3.q", "QuantizeLinear makes a graph output"),
    (integer_convolution, "ci", "no operator ConvInteger"),
    (quantized_convolution, "qc", "no operator QLinearConv"),
    (unpooling, "unpooled", "no operator MaxUnpool"),
    (deformable, "d", "no operator DeformConv"),
]
