import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from jetseg.errors import ArtifactError
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest
from jetseg.models.cost import module_cost
from jetseg.onnx.cost import Cost, graph_cost, onnx_cost, products
from jetseg.onnx.graph import Graph


def graph(nodes, shape, weights=(), dtype=TensorProto.FLOAT) -> onnx.ModelProto:
    """Builds a model from `image` to `out`; weights are arrays by name."""
    held = [numpy_helper.from_array(value, name) for name, value in dict(weights).items()]
    inputs = [helper.make_tensor_value_info("image", dtype, shape)]
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)]
    model = helper.make_graph(nodes, "g", inputs, outputs, held)
    return helper.make_model(model, opset_imports=[helper.make_opsetid("", 18)])


def floats(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def test_convolution_with_stride_groups_and_bias():
    node = helper.make_node("Conv", ["image", "w", "b"], ["out"], group=2, strides=[2, 2], pads=[1, 1, 1, 1])
    model = graph([node], [1, 4, 10, 12], {"w": floats(6, 2, 3, 3), "b": floats(6)})
    # 6 channels of 5 x 6 pixels, 2 x 3 x 3 products each
    assert graph_cost(model) == Cost(parameters=6 * 18 + 6, macs=6 * 30 * 18)


def test_transposed_convolution():
    node = helper.make_node("ConvTranspose", ["image", "w"], ["out"], strides=[2, 2], group=2)
    model = graph([node], [1, 4, 5, 6], {"w": floats(4, 3, 2, 2)})
    assert graph_cost(model) == Cost(parameters=48, macs=4 * 30 * 3 * 4)


def test_matrix_products():
    gemm = helper.make_node("Gemm", ["image", "w", "b"], ["hidden"], transA=1, transB=1)
    product = helper.make_node("MatMul", ["hidden", "m"], ["out"])
    weights = {"w": floats(7, 3), "b": floats(7), "m": floats(7, 2)}
    model = graph([gemm, product], [3, 5], weights)
    assert graph_cost(model) == Cost(parameters=21 + 7 + 14, macs=5 * 7 * 3 + 5 * 2 * 7)


def test_products_that_are_no_matmul_count_as_well():
    """The likeness of 6 queries and 5 keys in 2 heads of 4 channels, and an attention of the same sizes."""
    likeness = helper.make_node("Einsum", ["image", "k"], ["out"], equation="bhqc, bhkc -> bhqk")
    model = graph([likeness], [1, 2, 6, 4], {"k": floats(1, 2, 5, 4)})
    assert graph_cost(model).macs == 2 * 6 * 5 * 4
    assert products(Graph(model)) == ("out",)
    likeness = helper.make_node("Einsum", ["image", "k"], ["out"], equation="...qc,...kc->...qk")
    assert graph_cost(graph([likeness], [1, 2, 6, 4], {"k": floats(1, 5, 4)})).macs == 2 * 6 * 5 * 4
    turned = helper.make_node("Einsum", ["image"], ["out"], equation="bhqc->bqhc")
    assert graph_cost(graph([turned], [1, 2, 6, 4])).macs == 0
    attention = helper.make_node("Attention", ["image", "k", "v"], ["out"])
    model = graph([attention], [1, 2, 6, 4], {"k": floats(1, 2, 5, 4), "v": floats(1, 2, 5, 3)})
    model.opset_import[0].version = 23
    assert graph_cost(model).macs == 2 * 6 * 5 * 4 + 2 * 6 * 5 * 3


def test_int8_weights_count_and_scales_do_not():
    """A Q/DQ graph costs what its float network costs."""
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["x"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wf"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "bs", "bz"], ["bf"], axis=0),
        helper.make_node("Conv", ["x", "wf", "bf"], ["out"]),
    ]
    weights = {
        "s": np.float32(0.1),
        "z": np.uint8(128),
        "w": np.ones((6, 4, 3, 3), np.int8),
        "ws": floats(6),
        "wz": np.zeros(6, np.int8),
        "b": np.ones(6, np.int32),
        "bs": floats(6),
        "bz": np.zeros(6, np.int32),
    }
    model = graph(nodes, [1, 4, 5, 6], {name: np.asarray(value) for name, value in weights.items()})
    assert graph_cost(model) == Cost(parameters=6 * 36 + 6, macs=6 * 12 * 36)


def test_weights_that_the_graph_quantizes_itself_count_once():
    nodes = [
        helper.make_node("QuantizeLinear", ["w", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["wf"]),
        helper.make_node("Conv", ["image", "wf"], ["first"]),
        helper.make_node("Conv", ["first", "wf"], ["out"]),
    ]
    weights = {"w": floats(4, 4, 1, 1), "s": np.asarray(np.float32(0.1)), "z": np.asarray(np.int8(0))}
    assert graph_cost(graph(nodes, [1, 4, 5, 6], weights)) == Cost(parameters=16, macs=2 * 30 * 16)


def test_qlinear_convolution():
    names = ["image", "s", "z", "w", "s", "wz", "s", "z", "b"]
    weights = {
        "s": np.asarray(np.float32(0.1)),
        "z": np.asarray(np.uint8(0)),
        "wz": np.asarray(np.int8(0)),
        "w": np.ones((6, 4, 3, 3), np.int8),
        "b": np.ones(6, np.int32),
    }
    model = graph([helper.make_node("QLinearConv", names, ["out"])], [1, 4, 5, 6], weights, TensorProto.UINT8)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT8
    assert graph_cost(model) == Cost(parameters=6 * 36 + 6, macs=6 * 12 * 36)


def test_a_fixed_matrix_written_into_the_graph_is_not_a_parameter():
    fixed = helper.make_node("Constant", [], ["m"], value=numpy_helper.from_array(floats(6, 12)))
    product = helper.make_node("MatMul", ["image", "m"], ["out"])
    assert graph_cost(graph([fixed, product], [1, 4, 5, 6])) == Cost(parameters=0, macs=4 * 5 * 12 * 6)


def test_open_dimensions_take_the_manifests_size(tmp_path: Path):
    node = helper.make_node("Conv", ["image", "w"], ["out"], pads=[1, 1, 1, 1])
    model = graph([node], ["batch", 3, "height", "width"], {"w": floats(8, 3, 3, 3)})
    assert graph_cost(model) == Cost(parameters=216, macs=None)
    onnx.save(model, str(tmp_path / "net.onnx"))
    manifest = Manifest(classes=("a",), input=InputSpec(height=10, width=20))
    assert onnx_cost(tmp_path / "net.onnx", manifest) == Cost(parameters=216, macs=200 * 216)


@pytest.mark.long
def test_torch_and_its_export_agree(tmp_path: Path):
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.PReLU(8),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8),
        nn.ConvTranspose2d(8, 4, 2, stride=2),
        nn.Conv2d(4, 5, 1, bias=False),
    ).eval()
    before = module_cost(module, (1, 3, 16, 24))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own dependencies
        program = torch.onnx.export(module, (torch.zeros(1, 3, 16, 24),), dynamo=True, verbose=False)
    assert program is not None
    assert graph_cost(program.model_proto) == before
    weights = 8 * 27 + 8 + 8 + 8 * 9 + 8 + 8 * 4 * 4 + 4 + 4 * 5
    products = 96 * (8 * 27 + 8 * 9 + 8 * 4 * 4) + 384 * 20
    assert before == Cost(parameters=weights, macs=products)


def test_published_networks(shared_dir: Path):
    peer = shared_dir / "models" / "onnx_peer"
    # parameters of ResNet-50 and SqueezeNet 1.1 as torchvision publishes them
    assert onnx_cost(peer / "light_resnet50.onnx") == Cost(parameters=25_557_032, macs=4_089_184_256)
    assert onnx_cost(peer / "light_squeezenet.onnx").parameters == 1_235_496


def test_a_damaged_file_is_a_plain_error(tmp_path: Path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"\x08\x07no onnx")
    with pytest.raises(ArtifactError, match=r"net\.onnx"):
        onnx_cost(path)
