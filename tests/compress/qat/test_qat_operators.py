import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from jetseg.compress.qat.module import OnnxModule
from jetseg.compress.qat.operators import OPERATORS, TYPES
from jetseg.errors import ArtifactError
from jetseg.onnx.session import make_session
from jetseg.onnx.trainable import TRAINABLE_OPERATORS, TRAINABLE_TYPES


def graph_of(nodes, shape, constants, opset=18):
    """One input x, one output y."""
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [onnx.ValueInfoProto(name="y")],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def floats(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def ints(*values):
    return np.array(values, dtype=np.int64)


def resize(sizes=None, scales=None, **attributes):
    key = {"s": ints(*sizes)} if sizes else {"s": np.array(scales, np.float32)}
    return "Resize", ["", "", "s"] if sizes else ["", "s"], attributes, key


CASES = {
    "conv": ("Conv", ["w", "b"], {"pads": [1, 2, 0, 1], "strides": [2, 1]}, {"w": floats(6, 4, 3, 3), "b": floats(6)}),
    "conv groups dilated": ("Conv", ["w"], {"group": 2, "dilations": [2, 1]}, {"w": floats(6, 2, 3, 3)}),
    "conv same": ("Conv", ["w"], {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, {"w": floats(6, 4, 3, 3)}),
    "transposed": (
        "ConvTranspose",
        ["w", "b"],
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1], "group": 2},
        {"w": floats(4, 3, 3, 3), "b": floats(6)},
    ),
    "transposed uneven": ("ConvTranspose", ["w"], {"strides": [2, 2], "pads": [0, 1, 1, 0]}, {"w": floats(4, 3, 3, 3)}),
    "batch norm": (
        "BatchNormalization",
        ["g", "b", "m", "v"],
        {"epsilon": 1e-3},
        {"g": floats(4), "b": floats(4), "m": floats(4), "v": np.abs(floats(4)) + 1},
    ),
    "relu": ("Relu", [], {}, {}),
    "prelu": ("PRelu", ["s"], {}, {"s": floats(4, 1, 1)}),
    "prelu odd": ("PRelu", ["s"], {}, {"s": floats(1, 10)}),
    "leaky": ("LeakyRelu", [], {"alpha": 0.2}, {}),
    "clip": ("Clip", ["low", "high"], {}, {"low": np.float32(-0.5), "high": np.float32(0.7)}),
    "clip above": ("Clip", ["", "high"], {}, {"high": np.float32(0.7)}),
    "sigmoid": ("Sigmoid", [], {}, {}),
    "hard sigmoid": ("HardSigmoid", [], {"alpha": 0.3}, {}),
    "hard swish": ("HardSwish", [], {}, {}),
    "add": ("Add", ["c"], {}, {"c": floats(4, 1, 1)}),
    "sub": ("Sub", ["c"], {}, {"c": floats(1)}),
    "mul": ("Mul", ["c"], {}, {"c": floats(4, 1, 1)}),
    "div": ("Div", ["c"], {}, {"c": floats(4, 1, 1)}),
    "concat": ("Concat", ["c"], {"axis": 1}, {"c": floats(2, 3, 9, 10)}),
    "slice": (
        "Slice",
        ["s", "e", "a", "t"],
        {},
        {"s": ints(1, -1), "e": ints(2**31, -(2**31)), "a": ints(1, 3), "t": ints(1, -2)},
    ),
    "gather": ("Gather", ["i"], {"axis": 1}, {"i": np.array([[0, -1]], np.int64)}),
    "gather one": ("Gather", ["i"], {"axis": 2}, {"i": np.int64(3)}),
    "max pool": ("MaxPool", [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}, {}),
    "max pool uneven": ("MaxPool", [], {"kernel_shape": [3, 3], "pads": [0, 0, 1, 1]}, {}),
    "max pool ceil": ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, {}),
    "mean": ("AveragePool", [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}, {}),
    "mean padded": ("AveragePool", [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, {}),
    "mean uneven": ("AveragePool", [], {"kernel_shape": [3, 3], "pads": [0, 1, 1, 0]}, {}),
    "mean uneven padded": (
        "AveragePool",
        [],
        {"kernel_shape": [3, 3], "pads": [0, 1, 1, 0], "count_include_pad": 1},
        {},
    ),
    "global mean": ("GlobalAveragePool", [], {}, {}),
    "reduce mean": ("ReduceMean", ["a"], {"keepdims": 0}, {"a": ints(-1, 2)}),
    "nearest": resize(scales=[1, 1, 2, 1.5], mode="nearest"),
    "nearest floor": resize(
        sizes=[2, 4, 5, 27], mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    ),
    "nearest ceil": resize(scales=[1, 1, 0.5, 2], mode="nearest", nearest_mode="round_prefer_ceil"),
    "linear": resize(sizes=[2, 4, 17, 25], mode="linear"),
    "linear scales": resize(scales=[1, 1, 1.3, 0.7], mode="linear"),
    "linear corners": resize(sizes=[2, 4, 18, 5], mode="linear", coordinate_transformation_mode="align_corners"),
    "linear asymmetric": resize(scales=[1, 1, 2, 2], mode="linear", coordinate_transformation_mode="asymmetric"),
    "linear pytorch": resize(sizes=[2, 4, 18, 1], mode="linear", coordinate_transformation_mode="pytorch_half_pixel"),
    "resize axes": resize(sizes=[18, 20], mode="linear", axes=[2, 3]),
    "reshape": ("Reshape", ["s"], {}, {"s": ints(0, 2, -1, 10)}),
    "transpose": ("Transpose", [], {"perm": [0, 2, 3, 1]}, {}),
    "flatten": ("Flatten", [], {"axis": 2}, {}),
    "unsqueeze": ("Unsqueeze", ["a"], {}, {"a": ints(-1, 0)}),
    "matmul": ("MatMul", ["w"], {}, {"w": floats(10, 3)}),
    "softmax": ("Softmax", [], {"axis": 1}, {}),
    "argmax": ("ArgMax", [], {"axis": 1, "keepdims": 0}, {}),
    "softmax last": ("Softmax", [], {}, {}),
    "layer norm": ("LayerNormalization", ["g", "b"], {"epsilon": 1e-3}, {"g": floats(10), "b": floats(10)}),
    "layer norm of three axes": ("LayerNormalization", ["g"], {"axis": 1}, {"g": floats(4, 1, 10)}),
    "instance norm": ("InstanceNormalization", ["g", "b"], {"epsilon": 1e-3}, {"g": floats(4), "b": floats(4)}),
    "sum": ("ReduceSum", ["a"], {"keepdims": 0}, {"a": ints(-1, 2)}),
    "sum of all": ("ReduceSum", [], {}, {}),
    "sum of none": ("ReduceSum", [], {"noop_with_empty_axes": 1}, {}),
    "largest": ("ReduceMax", ["a"], {}, {"a": ints(1)}),
    "length": ("ReduceL2", ["a"], {}, {"a": ints(1, 3)}),
    "pad": ("Pad", ["p", "v"], {}, {"p": ints(0, 1, 2, -1, 0, 0, 1, 3), "v": np.float32(0.5)}),
    "pad zeros": ("Pad", ["p", "", "a"], {}, {"p": ints(1, -2, 2, 0), "a": ints(-1, 2)}),
    "pad edge": ("Pad", ["p"], {"mode": "edge"}, {"p": ints(0, 0, 2, 1, 0, 1, 1, 3)}),
    "pad mirrored": ("Pad", ["p"], {"mode": "reflect"}, {"p": ints(0, 0, 8, 1, 0, 2, 1, 9)}),
    "pad around": ("Pad", ["p"], {"mode": "wrap"}, {"p": ints(0, 0, 2, 1, 0, 0, 1, 3)}),
    "gather nd": ("GatherND", ["i"], {}, {"i": np.array([[[0, -1], [1, 2]]], np.int64)}),
    "gather nd of batch": ("GatherND", ["i"], {"batch_dims": 2}, {"i": (np.arange(48) % 9).reshape(2, 4, 3, 2)}),
    "expand": ("Expand", ["s"], {}, {"s": ints(3, 1, 1, 9, 1)}),
    "gelu": ("Gelu", [], {}, {}),
    "gelu tanh": ("Gelu", [], {"approximate": "tanh"}, {}),
    "erf": ("Erf", [], {}, {}),
    "tanh": ("Tanh", [], {}, {}),
    "exp": ("Exp", [], {}, {}),
    "abs": ("Abs", [], {}, {}),
    "neg": ("Neg", [], {}, {}),
    "reciprocal": ("Reciprocal", [], {}, {}),
    "softplus": ("Softplus", [], {}, {}),
    "square": ("Pow", ["c"], {}, {"c": np.float32(2)}),
    "whole square": ("Pow", ["c"], {}, {"c": np.int64(2)}),
    "max": ("Max", ["c", "d"], {}, {"c": floats(4, 1, 1), "d": np.float32(0.1)}),
    "min": ("Min", ["c"], {}, {"c": floats(10)}),
    "sum of several": ("Sum", ["c", "x"], {}, {"c": floats(4, 1, 1)}),
    "products of both": ("Einsum", ["w"], {"equation": "nchw,wk->nkhc"}, {"w": floats(10, 3)}),
    "cast": ("Cast", [], {"to": TensorProto.INT32}, {}),
    "identity": ("Identity", [], {}, {}),
}


def assert_same(model, x, tolerance=1e-5):
    (expected,) = make_session(model.SerializeToString(), optimize=False).run(None, {"x": x})
    with torch.no_grad():
        actual = OnnxModule(model)(torch.from_numpy(x)).numpy()
    assert actual.dtype == expected.dtype
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", CASES)
def test_operator_is_that_of_onnx_runtime(case):
    operator, inputs, attributes, constants = CASES[case]
    node = helper.make_node(operator, ["x", *inputs], ["y"], **attributes)
    model = graph_of([node], [2, 4, 9, 10], constants, _opset(operator))
    assert_same(model, floats(2, 4, 9, 10) * 2)
    if operator not in ("ArgMax", "Cast"):
        assert_gradient(model, floats(2, 4, 9, 10).astype(np.float64) * 2)


def _opset(operator):
    return {"Gelu": 20, "Pad": 19}.get(operator, 18)


def assert_gradient(model, x):
    """Compares the gradient with the quotient of differences, in one random direction."""
    module, x = OnnxModule(model).double(), torch.from_numpy(x).requires_grad_()
    direction = torch.from_numpy(np.random.default_rng(2).normal(size=x.shape))
    result = module(x)
    weights = torch.from_numpy(np.random.default_rng(3).normal(size=result.shape))
    (gradient,) = torch.autograd.grad((result * weights).sum(), x)
    with torch.no_grad():
        difference = ((module(x + 1e-6 * direction) - module(x - 1e-6 * direction)) * weights).sum() / 2e-6
    assert float((gradient * direction).sum()) == pytest.approx(float(difference), rel=1e-4)


def test_gemm_and_squeeze():
    nodes = [
        helper.make_node("Squeeze", ["x", "axes"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["y"], transB=1, alpha=0.5, beta=2.0),
    ]
    assert_same(
        graph_of(nodes, [3, 5, 1, 1], {"axes": ints(2, 3), "w": floats(4, 5), "b": floats(4)}), floats(3, 5, 1, 1)
    )


def attention(heads=2, width=6):
    """A block of a transformer, as exporters write it: norm, products of activations, and GELU by Erf."""
    halves = [("q", 0), ("k", 1), ("v", 2)]
    numbers = {"scale": 0.6, "nothing": 0, "root": 2**0.5, "one": 1, "half": 0.5}
    shapes = {"g": [width], "b": [width], "up": [width, 9], "bup": [9], "down": [9, width]}
    constants = {name: np.float32(number) for name, number in numbers.items()}
    constants |= {name: floats(*shape) for name, shape in shapes.items()}
    constants |= {name: floats(width, width) * (0.3 + index) for name, index in halves}
    constants |= {f"b{name}": floats(width) for name, _ in halves}
    constants |= {"split": ints(0, 0, heads, width // heads), "joined": ints(0, 0, -1)}
    nodes = [helper.make_node("LayerNormalization", ["x", "g", "b"], ["n"])]
    for name, _ in halves:
        perm = [0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]
        nodes += [
            helper.make_node("MatMul", ["n", name], [f"{name}1"]),
            helper.make_node("Add", [f"b{name}", f"{name}1"], [f"{name}2"]),
            helper.make_node("Reshape", [f"{name}2", "split"], [f"{name}3"]),
            helper.make_node("Transpose", [f"{name}3"], [f"{name}4"], perm=perm),
        ]
    nodes += [
        helper.make_node("Mul", ["q4", "scale"], ["q5"]),
        helper.make_node("MatMul", ["q5", "k4"], ["s0"]),
        helper.make_node("Softmax", ["s0"], ["s1"]),
        helper.make_node("IsNaN", ["s1"], ["s2"]),
        helper.make_node("Where", ["s2", "nothing", "s1"], ["s3"]),
        helper.make_node("MatMul", ["s3", "v4"], ["o0"]),
        helper.make_node("Transpose", ["o0"], ["o1"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["o1", "joined"], ["o2"]),
        helper.make_node("Add", ["o2", "x"], ["r"]),
        helper.make_node("MatMul", ["r", "up"], ["u0"]),
        helper.make_node("Add", ["u0", "bup"], ["u1"]),
        helper.make_node("Div", ["u1", "root"], ["u2"]),
        helper.make_node("Erf", ["u2"], ["u3"]),
        helper.make_node("Add", ["u3", "one"], ["u4"]),
        helper.make_node("Mul", ["u1", "u4"], ["u5"]),
        helper.make_node("Mul", ["u5", "half"], ["u6"]),
        helper.make_node("MatMul", ["u6", "down"], ["y"]),
    ]
    return graph_of(nodes, [2, 5, width], constants)


def test_attention_is_that_of_onnx_runtime():
    assert_same(attention(), floats(2, 5, 6))
    assert_gradient(attention(), floats(2, 5, 6).astype(np.float64))


def test_attention_trains_what_linear_layers_and_norms_hold():
    module = OnnxModule(attention())
    assert set(module.weight_names) == {*"qkvgb", "bq", "bk", "bv", "up", "bup", "down"}
    module.double()(torch.from_numpy(floats(2, 5, 6)).double()).square().sum().backward()
    reached = {
        name for name, one in zip(module.weight_names, module.changes, strict=True) if one.grad.abs().max() > 1e-9
    }
    assert reached == set(module.weight_names) - {"bk"}  # a softmax does not see what is the same for all keys


def test_norm_written_out_is_that_of_onnx_runtime():
    """As files from before LayerNormalization have it."""
    nodes = [
        helper.make_node("ReduceMean", ["x", "a"], ["m"]),
        helper.make_node("Sub", ["x", "m"], ["d"]),
        helper.make_node("Pow", ["d", "two"], ["s"]),
        helper.make_node("ReduceMean", ["s", "a"], ["v"]),
        helper.make_node("Add", ["v", "e"], ["w"]),
        helper.make_node("Sqrt", ["w"], ["r"]),
        helper.make_node("Div", ["d", "r"], ["y"]),
    ]
    constants = {"a": ints(-1), "two": np.float32(2), "e": np.float32(1e-5)}
    assert_same(graph_of(nodes, [2, 5, 6], constants), floats(2, 5, 6))
    assert_gradient(graph_of(nodes, [2, 5, 6], constants), floats(2, 5, 6).astype(np.float64))


@pytest.mark.parametrize("sizes", [{"num_outputs": 3}, {"sizes": ints(1, 2, 4)}])
def test_split(sizes):
    given = sizes.pop("sizes", None)
    constants = {} if given is None else {"s": given}
    nodes = [
        helper.make_node("Split", ["x", *constants], ["a", "b", "c"], axis=1, **sizes),
        helper.make_node("Concat", ["c", "a", "b"], ["y"], axis=1),
    ]
    assert_same(graph_of(nodes, [1, 7, 4, 4], constants), floats(1, 7, 4, 4))


def test_shape_arithmetic_is_followed():
    two = helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(ints(2)))
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"], start=1),
        helper.make_node("Slice", ["shape", "from", "to"], ["hw"]),
        two,
        helper.make_node("Mul", ["hw", "two"], ["double"]),
        helper.make_node("Div", ["double", "three"], ["less"]),
        helper.make_node("Gather", ["shape", "zero"], ["channels"]),
        helper.make_node("Concat", ["one", "channels", "less"], ["sizes"], axis=0),
        helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear"),
    ]
    constants = {"from": ints(1), "to": ints(3), "three": ints(3), "zero": ints(0), "one": ints(1)}
    assert_same(graph_of(nodes, [1, 4, 9, 10], constants), floats(1, 4, 9, 10))


def test_operator_that_cannot_be_trained_is_named_with_its_node():
    model = graph_of([helper.make_node("Sin", ["x"], ["y"], name="wave")], [1, 4], {})
    with pytest.raises(ArtifactError, match=r"Node wave \(Sin\) is an operator that cannot be trained"):
        OnnxModule(model)


def test_form_that_torch_lacks_is_named():
    node = helper.make_node("Resize", ["x", "", "s"], ["y"], name="up", mode="cubic")
    model = graph_of([node], [1, 4, 4, 4], {"s": np.array([1, 1, 2, 2], np.float32)})
    with pytest.raises(ArtifactError, match=r"Node up \(Resize\) is of a form .* mode cubic"):
        OnnxModule(model)


def test_what_is_said_to_be_trainable_has_a_function_each():
    assert set(OPERATORS) == TRAINABLE_OPERATORS
    assert set(TYPES) == TRAINABLE_TYPES


def test_shape_that_does_not_fit_is_named():
    model = graph_of([helper.make_node("Add", ["x", "c"], ["y"], name="sum")], [1, 4], {"c": floats(4)})
    with pytest.raises(ArtifactError, match=r"Node sum \(Add\) cannot be computed on shapes \[1, 5\], \[4\]"):
        OnnxModule(model)(torch.zeros(1, 5))


def test_old_opset_is_refused():
    with pytest.raises(ArtifactError, match="opset 12"):
        OnnxModule(graph_of([helper.make_node("Relu", ["x"], ["y"])], [1], {}, opset=12))
