"""What `jetseg lint` calls refused is what NVIDIA's parser refuses; what it says about the DLA is by the book."""

import json
import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from small_network import small_manifest, write_small_network
from tensorrt_networks import graph, wrong_graphs
from typer.testing import CliRunner

from jetseg.cli.main import app
from jetseg.engine.tensorrt.legalize import legalize_
from jetseg.engine.tensorrt.plan import build_plan
from jetseg.errors import ArtifactError, ConfigError
from jetseg.input_spec import InputSpec
from jetseg.network import save_manifest
from jetseg.onnx.graph import Graph
from jetseg.workflows.linting import lint

node = helper.make_node
KERNEL = {"w": np.full((4, 3, 3, 3), 0.1, np.float32)}
TURNED = {"w": np.full((3, 4, 3, 3), 0.1, np.float32)}
DOUBLE = {"s": np.array([1, 1, 2, 2], np.float32)}
CROP = {**DOUBLE, "r": np.array([0, 0, 0, 0, 1, 1, 1, 1], np.float32)}


def resize(**attributes):
    return node("Resize", ["image", "", "s"], ["out"], **attributes)


def judged_graphs():
    """Graphs, some of which the parser refuses."""
    crop = node(
        "Resize", ["image", "r", "s"], ["out"], mode="linear", coordinate_transformation_mode="tf_crop_and_resize"
    )
    tied = {"kernel_shape": [3, 3], "dilations": [2, 2]}
    return {
        **{name: model for name, (model, _) in wrong_graphs().items() if name != "mixed types"},
        "convolution": graph([node("Conv", ["image", "w"], ["out"], pads=[1, 1, 1, 1])], KERNEL),
        "cubic": graph([resize(mode="cubic")], DOUBLE),
        "symmetric": graph([resize(mode="linear", coordinate_transformation_mode="half_pixel_symmetric")], DOUBLE, opset=19),
        "antialias": graph([resize(mode="linear", antialias=1)], {"s": np.array([1, 1, 0.5, 0.5], np.float32)}),
        "crop": graph([crop], CROP),
        "dilated pooling": graph([node("MaxPool", ["image"], ["out"], **tied)], {}),
        "pooling": graph([node("MaxPool", ["image"], ["out"], kernel_shape=[3, 3], ceil_mode=1)], {}),
        "unread indices": graph([node("MaxPool", ["image"], ["out", "i"], kernel_shape=[2, 2])], {}),
        "strided and dilated": graph([node("ConvTranspose", ["image", "w"], ["out"], strides=[2, 2], dilations=[2, 2])], TURNED),
        "strided": graph([node("ConvTranspose", ["image", "w"], ["out"], strides=[2, 2])], TURNED),
        "int16": graph([node("Cast", ["image"], ["a"], to=TensorProto.INT16), node("Cast", ["a"], ["out"], to=1)], {}),
        "uint8 inside": graph([node("Cast", ["image"], ["a"], to=TensorProto.UINT8), node("Cast", ["a"], ["out"], to=1)], {}),
        "uint8 at the end": graph([node("Cast", ["image"], ["a"], to=TensorProto.INT32), node("Cast", ["a"], ["out"], to=2)], {}),
    }  # fmt: skip


def write(folder, model):
    path = folder / "n.onnx"
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("name", judged_graphs())
def test_what_is_called_refused_is_what_the_real_parser_refuses(name, tmp_path):
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (extra rtx)")

    def sm86(settings):
        settings.num_compute_capabilities = 1
        settings.set_compute_capability(trt.ComputeCapability.SM86, 0)

    model = judged_graphs()[name]
    found = lint(write(tmp_path, model)).findings
    legalize_(Graph(model))
    try:
        build_plan(trt, model, sm86)
        refused = False
    except ArtifactError:
        refused = True
    assert refused == any(finding.kind == "refused" for finding in found), found


def dla_plan(folder, nodes, constants, shape=(1, 3, 8, 8)):
    return lint(write(folder, graph(nodes, constants, shape)), device="dla").dla


@pytest.mark.parametrize(
    ("nodes", "constants", "reason"),
    [
        ([node("Conv", ["image", "w"], ["out"], kernel_shape=[3, 3])], KERNEL, None),
        ([node("Conv", ["image", "w"], ["out"], kernel_shape=[3, 3], strides=[9, 9])], KERNEL, "1 to 8"),
        ([node("ConvTranspose", ["image", "w"], ["out"], kernel_shape=[3, 3], strides=[2, 2])], TURNED, None),
        ([node("ConvTranspose", ["image", "w"], ["out"], pads=[1, 1, 1, 1])], TURNED, "padded"),
        ([node("ConvTranspose", ["image", "w"], ["out"], dilations=[2, 2])], TURNED, "dilated"),
        ([node("MaxPool", ["image"], ["out"], kernel_shape=[8, 8])], {}, None),
        ([node("AveragePool", ["image"], ["out"], kernel_shape=[9, 9], pads=[4, 4, 4, 4])], {}, "kernel_shape"),
        ([node("Clip", ["image", "a", "b"], ["out"])], {"a": np.float32(0), "b": np.float32(6)}, None),
        ([node("Clip", ["image", "a", "b"], ["out"])], {"a": np.float32(-1), "b": np.float32(6)}, "begin at 0"),
        ([node("Add", ["image", "a"], ["out"])], {"a": np.ones((3, 1, 1), np.float32)}, None),
        ([node("Add", ["image", "a"], ["out"])], {"a": np.ones((1, 3, 8, 1), np.float32)}, "spread"),
        ([node("Concat", ["image", "image"], ["out"], axis=1)], {}, None),
        ([node("Concat", ["image", "image"], ["out"], axis=2)], {}, "another axis"),
        ([resize(mode="nearest")], DOUBLE, None),
        ([resize(mode="linear")], DOUBLE, None),
        ([resize(mode="linear", coordinate_transformation_mode="align_corners")], DOUBLE, "align_corners"),
        ([resize(mode="linear")], {"s": np.array([1, 1, 8, 8], np.float32)}, "8 x 8; linear takes .* 1 to 4"),
        ([resize(mode="cubic")], DOUBLE, "cubic"),
        ([resize(mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")], DOUBLE, None),
        ([resize(mode="nearest", coordinate_transformation_mode="asymmetric")], DOUBLE, "nearest neighbors by"),
        ([resize(mode="nearest")], {"s": np.array([1, 1, 33, 33], np.float32)}, "nearest takes .* 1 to 32"),
        ([node("Conv", ["image", "w"], ["out"], pads=[3, 3, 3, 3])], KERNEL, "as far as the kernel"),
        ([node("ConvTranspose", ["image", "w"], ["out"], strides=[23, 23])], TURNED, "1 to 22"),
        ([node("Clip", ["image", "a"], ["out"])], {"a": np.float32(0)}, "missing"),
        ([node("Clip", ["image", "a", "b"], ["out"])], {"a": np.float32(0), "b": np.float32(200)}, "1 to 127"),
        ([node("Add", ["image", "a"], ["out"])], {"a": np.float32(1)}, None),
        ([node("Max", ["image", "a"], ["out"])], {"a": np.ones((3, 1, 1), np.float32)}, "spread"),
        (
            [node("AveragePool", ["image"], ["a"], kernel_shape=[8, 8]), node("Mul", ["image", "a"], ["out"])],
            {},
            "spread",
        ),
        ([node("Concat", ["image"], ["out"], axis=1)], {}, "single"),
        ([node("LRN", ["image"], ["out"], size=5)], {}, None),
        ([node("LRN", ["image"], ["out"], size=4)], {}, "window"),
        ([node("Sin", ["image"], ["out"])], {}, "Sin is not among"),
        ([node("ReduceMax", ["image"], ["out"])], {}, "ReduceMax is not among"),
        ([node("Slice", ["image", "a", "b", "a"], ["out"])], {"a": np.array([1]), "b": np.array([3])}, None),
        ([node("Slice", ["image", "a", "b", "a"], ["out"])], {"a": np.array([0]), "b": np.array([0])}, "batch"),
        ([node("Softmax", ["image"], ["out"], axis=1)], {}, None),
        ([node("Softmax", ["image"], ["out"], axis=0)], {}, "batch"),
        ([node("Transpose", ["image"], ["out"], perm=[0, 2, 3, 1])], {}, None),
        ([node("Erf", ["image"], ["out"])], {}, "Erf is not among"),
        ([node("ArgMax", ["image"], ["a"], axis=1), node("Cast", ["a"], ["out"], to=1)], {}, "integers"),
        ([node("Squeeze", ["image"], ["out"])], {}, "dimensions"),
    ],
)
def test_the_dla_takes_what_its_documentation_says(tmp_path, nodes, constants, reason):
    plan = dla_plan(tmp_path, nodes, constants)
    if reason is None:
        assert (plan.on_dla, plan.on_gpu) == (("out",), {})
        return
    assert "out" not in plan.on_dla
    assert re.search(reason, plan.on_gpu["out"]), plan.on_gpu


@pytest.mark.parametrize(("channels", "width", "taken"), [(64, 1024, True), (96, 1024, False), (96, 512, True)])
def test_a_convolution_that_overflows_the_buffer_stays_on_the_gpu(tmp_path, channels, width, taken):
    kernel = {"w": np.zeros((8, channels, 3, 3), np.float32)}
    plan = dla_plan(
        tmp_path, [node("Conv", ["image", "w"], ["out"], pads=[1, 1, 1, 1])], kernel, (1, channels, 4, width)
    )
    assert bool(plan.on_dla) == taken
    assert taken or "banks of the convolution buffer" in plan.on_gpu["out"]


def test_a_long_softmax_stays_on_the_gpu_unless_it_is_all_there_is(tmp_path):
    softmax = [node("Softmax", ["image"], ["out"], axis=1)]
    assert dla_plan(tmp_path, softmax, {}, (1, 2000, 1, 1)).on_dla
    assert "1024" in dla_plan(tmp_path, softmax, {}, (1, 2000, 2, 1)).on_gpu["out"]


def test_pieces_and_hops_are_counted(tmp_path):
    plan = dla_plan(
        tmp_path,
        [
            node("Relu", ["image"], ["a"]),
            node("Erf", ["a"], ["b"]),
            node("Relu", ["b"], ["c"]),
            node("Identity", ["c"], ["d"]),
            node("Sigmoid", ["d"], ["e"]),
            node("Add", ["e", "a"], ["out"]),
        ],
        {},
    )
    assert (plan.pieces, plan.hops, list(plan.on_gpu)) == (1, 2, ["b"])
    chain = [node("Relu", ["image"], ["a"]), node("Erf", ["a"], ["b"]), node("Relu", ["b"], ["out"])]
    assert (dla_plan(tmp_path, chain, {}).pieces, dla_plan(tmp_path, chain, {}).hops) == (2, 2)


def test_channels_that_do_not_fill_tensor_cores_are_told(tmp_path):
    found = {finding.node: finding.found for finding in lint(write_small_network(tmp_path)).findings}
    assert found == {
        "c2": "8 input channels are computed as 32.",
        "c3": "a convolution in 16 groups of 1 input channels does not fill tensor cores.",
        "c4": "16 input channels are computed as 32.",
    }


def test_symmetric_coordinates_of_a_foreign_network_are_refused(shared_dir):
    path = shared_dir / "cases" / "resize_half_pixel_symmetric.onnx"
    if not path.exists():
        pytest.skip("the shared folder has no such case")
    refused = [finding for finding in lint(path).findings if finding.kind == "refused"]
    assert [(finding.operator, finding.found) for finding in refused] == [
        ("Resize", "its coordinates are half_pixel_symmetric.")
    ]


def told(tmp_path, kind, *arguments, **settings):
    found = lint(write(tmp_path, graph(*arguments, **settings))).findings
    return {finding.node: finding.found for finding in found if finding.kind == kind}


@pytest.mark.parametrize(
    ("layer", "weight", "found"),
    [
        (node("Conv", ["a", "w"], ["out"]), (4, 40, 3, 3), "40 input channels are computed as 64."),
        (node("ConvTranspose", ["a", "w"], ["out"]), (40, 4, 3, 3), "40 input channels are computed as 64."),
        (node("MatMul", ["a", "w"], ["out"]), (40, 4), "40 input channels are computed as 64."),
        (
            node("ConvTranspose", ["a", "w"], ["out"], group=10),
            (40, 1, 3, 3),
            "a transposed convolution in 10 groups of 4",
        ),
        (node("MatMul", ["a", "w"], ["out"]), (1, 40, 40, 4), "it stays in float beside int8"),
        (node("ConvTranspose", ["a", "w"], ["out"]), (64, 4, 3, 3), None),
        (node("MatMul", ["a", "w"], ["out"]), (64, 4), None),
    ],
)
def test_every_kind_of_layer_is_judged_by_its_channels(tmp_path, layer, weight, found):
    shape = (1, 64 if 64 in weight else 40, 40, 64 if 64 in weight else 40)
    slow = told(tmp_path, "slow", [node("Relu", ["image"], ["a"]), layer], {"w": np.ones(weight, np.float32)}, shape)
    assert list(slow) == ([] if found is None else ["out"])
    assert found is None or slow["out"].startswith(found)


@pytest.mark.parametrize("turned", [0, 1])
def test_a_matrix_product_sums_over_what_its_weight_says(tmp_path, turned):
    shape = (9, 40) if turned else (40, 9)
    nodes = [node("Relu", ["image"], ["a"]), node("Gemm", ["a", "w"], ["out"], transB=turned)]
    slow = told(tmp_path, "slow", nodes, {"w": np.ones(shape, np.float32)}, (2, 40))
    assert slow == {"out": "40 input channels are computed as 64."}


def test_products_of_computed_tensors_are_told_unless_they_are_quantized(tmp_path):
    scale = {"s": np.float32(0.1), "z": np.int8(0)}
    attention = [node("Relu", ["image"], ["a"]), node("MatMul", ["a", "a"], ["out"])]
    assert told(tmp_path, "slow", attention, {})["out"].endswith("those of two computed tensors, as in attention.")
    pair = [node("QuantizeLinear", ["a", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["d"])]
    quantized = [attention[0], *pair, node("MatMul", ["d", "d"], ["out"])]
    assert "out" not in {name for name, text in told(tmp_path, "slow", quantized, scale).items() if "float" in text}


def test_what_training_under_quantization_refuses_is_told_and_is_what_it_refuses(tmp_path):
    torch = pytest.importorskip("torch")
    from jetseg.compress.qat.module import OnnxModule

    del torch
    constants = {**DOUBLE, "p": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), "g": np.ones(8, np.float32)}
    layers = {
        "Pad": node("Pad", ["image", "p"], ["out"]),
        "LayerNormalization": node("LayerNormalization", ["image", "g"], ["out"]),
        "ReduceSum": node("ReduceSum", ["image"], ["out"]),
        "Erf": node("Erf", ["image"], ["out"]),
        "Sin": node("Sin", ["image"], ["out"]),
        "statistics": node("LayerNormalization", ["image", "g"], ["mean", "out"]),
        "cubic": resize(mode="cubic"),
        "dilated": node("AveragePool", ["image"], ["out"], kernel_shape=[2, 2], dilations=[2, 2]),
        "linear": resize(mode="linear"),
        "Relu": node("Relu", ["image"], ["out"]),
    }
    for name, layer in layers.items():
        found = told(tmp_path, "qat", [layer], constants, opset=19)
        try:
            OnnxModule(graph([layer], constants, opset=19))
            refused = ""
        except ArtifactError as error:
            refused = str(error)
        assert bool(found) == bool(refused) == (name in ("Sin", "statistics", "cubic", "dilated")), name
        assert all(said.split("it is ")[1] in refused for said in found.values())


def test_a_manifest_fixes_open_sizes_and_rewrites_are_told(tmp_path):
    shape = ("n", 3, "h", "w_")
    nodes = [node("MaxPool", ["image"], ["out", "i"], kernel_shape=[2, 2])]
    path = write(tmp_path, graph(nodes, {}, shape))
    assert [finding.operator for finding in lint(path).findings] == ["input"]
    save_manifest(path, small_manifest().changed(input=InputSpec(height=8, width=8)))
    found = lint(path)
    assert found.findings == ()
    assert found.rewritten == ("indices of max pooling that nothing reads are left out",)


@pytest.mark.parametrize(
    ("target", "device", "said"),
    [
        ("agx-orin-64gb", "dla", ["fp16, and int8 by implicit", "offers no DLA", "int8 by explicit quantizers"]),
        ("orin-nano-8gb", "gpu", ["explicit or implicit", "explicit or implicit"]),
        ("xavier-nx", "gpu", ["older than"]),
    ],
)
def test_each_release_of_a_target_is_judged(tmp_path, target, device, said):
    releases = lint(write_small_network(tmp_path), target=target, device=device).releases
    assert len(releases) == len(said)
    assert all(words in sentence for words, sentence in zip(said, releases, strict=True))


def test_a_target_without_dla_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="Orin Nano, 8 GB has no DLA"):
        lint(write_small_network(tmp_path), target="orin-nano-8gb", device="dla")


def test_the_command_line_ends_with_1_only_if_something_is_refused(tmp_path):
    good = write_small_network(tmp_path)
    done = CliRunner().invoke(app, ["lint", str(good), "--target", "agx-orin-64gb", "--device", "dla"])
    assert done.exit_code == 0
    assert "DLA: 11 of 11 layers, in 1 or more pieces; 0 hops" in done.stdout
    bad = write(tmp_path, graph([node("MaxPool", ["image"], ["out"], kernel_shape=[3, 3], dilations=[2, 2])], {}))
    done = CliRunner().invoke(app, ["lint", str(bad), "--json"])
    assert (type(done.exception).__name__, done.exception.exit_code) == ("QualityError", 1)
    assert json.loads(done.stdout)["findings"][0]["kind"] == "refused"
