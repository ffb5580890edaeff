import json

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_network import HEIGHT, WIDTH, write_dataset, write_small_network

from jetseg.engine.simulation import simulate_tensorrt
from jetseg.errors import CalibrationError
from jetseg.network import load_manifest, open_network, save_manifest
from jetseg.onnx.float_graph import load_float_graph
from jetseg.onnx.graph import Graph
from jetseg.onnx.layerwise import probe
from jetseg.onnx.session import make_session
from jetseg.quantization.arithmetic import ARITHMETICS
from jetseg.quantization.correct.activation_shift import shift_
from jetseg.quantization.correct.equalization import equalize_
from jetseg.quantization.correct.layer_matrix import LayerMatrix
from jetseg.quantization.correct.positions import rarity
from jetseg.quantization.correct.weight_reconstruction import reconstruct_weights_
from jetseg.quantization.observe.coverage import coverage, warnings
from jetseg.quantization.qdq.integer_placement import place_for_integer_kernels
from jetseg.quantization.qdq.placement import observed_tensors, place_symmetric
from jetseg.quantization.ranges import TensorRange, open_ranges
from jetseg.workflows.calibration import calibrate

EVERYWHERE = [np.ones((1, 1))]


def network(nodes, weights, image=(1, 3, 8, 10), output="y") -> Graph:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, list(image))],
        [onnx.ValueInfoProto(name=output)],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return Graph(model)


def everything(graph: Graph, image: np.ndarray) -> dict[str, np.ndarray]:
    """All activations of one frame."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    names = [node.output[0] for node in model.graph.node]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    values = make_session(model.SerializeToString()).run(names, {"image": image})
    return dict(zip(names, values, strict=True)) | {"image": image}


def final(model: onnx.ModelProto, image: np.ndarray) -> np.ndarray:
    return make_session(model.SerializeToString(), optimize=False).run(None, {"image": image})[0]


def channel_amax(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        name: np.abs(value[0]).reshape(value.shape[1], -1).max(axis=1).astype(np.float64)
        for name, value in values.items()
        if value.ndim == 4
    }


@pytest.fixture
def image():
    return np.random.default_rng(0).normal(size=(1, 3, HEIGHT, WIDTH)).astype(np.float32)


def test_equalizing_keeps_the_function_and_evens_ranges(small, image):
    before, reference = everything(small, image), final(small.model, image)
    quantized = {name: values for name, values in channel_amax(before).items() if name in ("r1", "both", "r3")}
    changed = equalize_(small, quantized, probe(small, {"image": image}).channels, strength=1.0)
    after = everything(small, image)
    assert changed > 8
    np.testing.assert_allclose(final(small.model, image), reference, rtol=1e-3, atol=1e-4)
    alive = channel_amax(before)["r3"] > 0
    np.testing.assert_allclose(channel_amax(after)["r3"][alive], 1.0, rtol=1e-4)
    assert not np.allclose(channel_amax(before)["r3"][alive], 1.0, rtol=0.1)
    np.testing.assert_array_equal(after["image"], image)


def test_equalizing_passes_resamplings_shuffles_and_gates():
    rng = np.random.default_rng(3)
    nodes = [
        helper.make_node("Conv", ["image", "a"], ["x"]),
        helper.make_node("Shape", ["image"], ["shape"]),
        helper.make_node("Slice", ["shape", "two", "four"], ["space"]),
        helper.make_node("Concat", ["batch_and_channels", "space"], ["shape_of_x"], axis=0),
        helper.make_node("Resize", ["x", "", "", "shape_of_x"], ["resized"], mode="linear"),
        helper.make_node("MatMul", ["rows", "resized"], ["pooled_rows"]),
        helper.make_node("MatMul", ["pooled_rows", "columns"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "split"], ["five"]),
        helper.make_node("Transpose", ["five"], ["swapped"], perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", ["swapped", "joined"], ["shuffled"]),
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Conv", ["mean", "g"], ["score"]),
        helper.make_node("Sigmoid", ["score"], ["gate"]),
        helper.make_node("Mul", ["gate", "shuffled"], ["gated"]),
        helper.make_node("Conv", ["gated", "b"], ["y"], group=2),
    ]
    weights = {
        "a": rng.normal(size=(6, 3, 1, 1)) * np.geomspace(0.1, 10, 6)[:, None, None, None],
        "rows": rng.uniform(size=(4, 8)),
        "columns": rng.uniform(size=(10, 5)),
        "g": rng.normal(size=(6, 3, 1, 1)),
        "b": rng.normal(size=(4, 3, 1, 1)),
    }
    graph = network(nodes, weights)
    sizes = {"two": [2], "four": [4], "batch_and_channels": [1, 6], "split": [1, 2, 3, 4, 5], "joined": [1, 6, 4, 5]}
    for name, value in sizes.items():
        graph.add_initializer(name, np.asarray(value, np.int64))
    frame = rng.normal(size=(1, 3, 8, 10)).astype(np.float32)
    values, reference = everything(graph, frame), final(graph.model, frame)
    equalize_(graph, {"gated": channel_amax(values)["gated"]}, probe(graph, {"image": frame}).channels, strength=1.0)
    after = everything(graph, frame)
    np.testing.assert_allclose(final(graph.model, frame), reference, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(channel_amax(after)["gated"], 1.0, rtol=1e-4)
    np.testing.assert_array_equal(after["gate"], values["gate"])


def test_equalizing_leaves_shared_weights_alone():
    rng = np.random.default_rng(1)
    nodes = [
        helper.make_node("Conv", ["image", "a"], ["x"]),
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Conv", ["r", "b"], ["u"]),
        helper.make_node("Conv", ["u", "b"], ["y"]),
    ]
    graph = network(nodes, {"a": rng.normal(size=(4, 3, 1, 1)), "b": rng.normal(size=(4, 4, 1, 1))})
    frame = rng.normal(size=(1, 3, 8, 10)).astype(np.float32)
    reference = final(graph.model, frame)
    equalize_(graph, channel_amax(everything(graph, frame)), probe(graph, {"image": frame}).channels)
    np.testing.assert_allclose(final(graph.model, frame), reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pad", [0, 1])
def test_shift_centers_only_where_no_padding_reads(pad):
    rng = np.random.default_rng(2)
    size = 1 + 2 * pad
    nodes = [
        helper.make_node("Conv", ["image", "a"], ["x"]),
        helper.make_node("LeakyRelu", ["x"], ["r"], alpha=0.1),
        helper.make_node("Conv", ["r", "b"], ["c"], pads=[pad] * 4),
        helper.make_node("Add", ["c", "r"], ["sum"]),
        helper.make_node("Concat", ["sum", "x"], ["both"], axis=1),
        helper.make_node("BatchNormalization", ["both", "g", "s", "m", "v"], ["y"]),
    ]
    weights = {"a": rng.normal(size=(4, 3, 1, 1)), "b": rng.normal(size=(4, 4, size, size))}
    weights |= {"g": rng.uniform(1, 2, 8), "s": rng.normal(size=8), "m": rng.normal(size=8), "v": rng.uniform(1, 2, 8)}
    graph = network(nodes, weights)
    frame = rng.normal(size=(1, 3, 8, 10)).astype(np.float32)
    reference, centers = final(graph.model, frame), {"r": channel_amax(everything(graph, frame))["r"] / 2}
    shifted = shift_(graph, centers, probe(graph, {"image": frame}).channels)
    assert shifted == (("r",) if pad == 0 else ())
    np.testing.assert_allclose(final(graph.model, frame), reference, rtol=1e-4, atol=1e-5)
    if not pad:
        after = everything(graph, frame)
        np.testing.assert_allclose(
            after["r.centered"], after["r"] - centers["r"].reshape(1, -1, 1, 1), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize(
    ("operator", "shape", "attributes", "groups"),
    [
        ("Conv", (6, 3, 3, 3), {"pads": [1, 2, 1, 0], "strides": [2, 1], "dilations": [1, 2]}, 1),
        ("Conv", (6, 1, 3, 3), {"pads": [1, 1, 1, 1], "group": 3}, 3),
        ("ConvTranspose", (3, 5, 2, 2), {"strides": [2, 2]}, 1),
    ],
)
def test_a_layer_is_the_matrix_that_it_is_said_to_be(operator, shape, attributes, groups):
    rng = np.random.default_rng(3)
    weight = rng.normal(size=shape).astype(np.float32)
    graph = network([helper.make_node(operator, ["image", "w"], ["y"], **attributes)], {"w": weight})
    frame = rng.normal(size=(1, 3, 8, 10)).astype(np.float32)
    layout = LayerMatrix.of(graph.nodes[0], shape, groups)
    blocks = layout.to_blocks(weight)
    inputs, targets = layout.samples(frame, final(graph.model, frame), rng.random((50, 2)))
    assert len(blocks) == groups
    np.testing.assert_allclose(inputs @ blocks.transpose(0, 2, 1), targets, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(layout.from_blocks(blocks, shape), weight)


def test_reconstruction_brings_the_quantized_network_nearer(tmp_path):
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data", frames=8)
    ranges = calibrate(model, data=data, split="all", preset="fast", out=tmp_path / "r.json", method="minmax")
    graph = load_float_graph(model)
    rng = np.random.default_rng(4)
    frames = [{"image": rng.uniform(-2, 2, (1, 3, HEIGHT, WIDTH)).astype(np.float32)} for _ in range(9)]
    other = frames.pop()["image"]
    placement = place_symmetric(graph, "full", ranges.tensors)
    wanted = final(graph.model, other)
    plain = final(ARITHMETICS["tensorrt"].render(graph.copy(), placement, ranges.tensors), other)
    reconstructed = graph.copy()
    reconstruct_weights_(
        reconstructed,
        placement,
        ARITHMETICS["tensorrt"].quantizers(placement, ranges.tensors),
        frames,
        EVERYWHERE * len(frames),
    )
    found = final(ARITHMETICS["tensorrt"].render(reconstructed, placement, ranges.tensors), other)
    assert np.square(found - wanted).mean() < 0.8 * np.square(plain - wanted).mean()


def test_rare_classes_are_looked_at_more_often_within_reason():
    common, rare, speck = 0, 7, 3
    frames = [np.full((100, 100), common, np.uint8), np.full((100, 100), common, np.uint8)]
    frames[0][:, :4] = rare
    frames[1][0, 0] = speck
    weights = rarity(frames)
    chance = {value: sum(w[f == value].sum() for w, f in zip(weights, frames, strict=True)) for value in (0, 7, 3)}
    assert chance[rare] / chance[common] == pytest.approx((400 / 19599) ** 0.5, rel=1e-3)
    assert chance[speck] < 0.01 * chance[common]


def test_reconstruction_looks_only_where_it_is_told_to():
    frame = np.random.default_rng(0).normal(size=(1, 3, 8, 16)).astype(np.float32)
    frame[..., 8:] = np.nan
    tensors = {"image": TensorRange(low=-3.0, high=3.0, amax=3.0, seen_low=-3.0, seen_high=3.0)}

    def reconstructed(interest: np.ndarray) -> np.ndarray:
        graph = network([helper.make_node("Conv", ["image", "w"], ["y"])], {"w": np.ones((2, 3, 1, 1))}, frame.shape)
        placement = place_symmetric(graph, "conv-inputs", tensors)
        reconstruct_weights_(
            graph, placement, ARITHMETICS["tensorrt"].quantizers(placement, tensors), [{"image": frame}], [interest]
        )
        return graph.weight("w")

    assert np.isfinite(reconstructed(np.repeat([[1.0, 0.0]], 4, axis=0))).all()
    assert not np.isfinite(reconstructed(np.repeat([[0.0, 1.0]], 4, axis=0))).all()


@pytest.mark.parametrize("placement", ["conv-inputs", "full"])
def test_calibration_keeps_what_helps_and_both_backends_find_their_network(tmp_path, placement):
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data", frames=12)
    out = tmp_path / "r.json"
    ranges = calibrate(model, data=data, split="all", placement=placement, out=out)
    most = max(trial.reconstruction_frames for trial in ranges.record.trials)
    final = [trial for trial in ranges.record.trials if trial.reconstruction_frames in (0, most)]
    by_target = {
        target: {trial.corrections: trial.agreement for trial in final if trial.target == target}
        for target in ("tensorrt", "onnxruntime")
    }
    assert () in by_target["tensorrt"]
    assert any("reconstruct" in corrections for corrections in by_target["onnxruntime"])
    for target, scores in by_target.items():
        network_file = ranges.network_for(target).path
        stages = load_manifest(network_file).stages if network_file != model else ()
        kept = tuple(stages[-1].settings["corrections"]) if stages else ()
        assert scores[kept] == max(scores.values())
    runner = simulate_tensorrt(ranges)
    assert runner.manifest.precision == "int8"


def test_every_candidate_is_tried_once_per_target(tmp_path):
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data", frames=12)
    ranges = calibrate(model, data=data, split="all", out=tmp_path / "r.json")
    tried = [(trial.target, trial.corrections, trial.reconstruction_frames) for trial in ranges.record.trials]
    assert len(tried) == len(set(tried))


def test_a_corrected_network_that_is_gone_or_changed_is_refused(tmp_path):
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data", frames=12)
    out = tmp_path / "r.json"
    calibrate(model, data=data, split="all", out=out, corrections=("equalize", "reconstruct"))
    ranges = open_ranges(out, open_network(model))
    target, entry = next(iter(ranges.record.networks.items()))
    path = tmp_path / entry.file
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(CalibrationError, match="SHA-256 differs"):
        ranges.network_for(target)
    path.unlink()
    with pytest.raises(CalibrationError, match="not beside it"):
        ranges.network_for(target)
    content = json.loads(out.read_text())
    content["networks"][target]["file"] = "../small.onnx"
    out.write_text(json.dumps(content))
    ranges = open_ranges(out, open_network(model))
    with pytest.raises(CalibrationError, match="outside its own folder"):
        ranges.network_for(target)


def test_few_images_and_a_dominating_one_are_told():
    steady = coverage({"x": [1.0, 1.01] * 8})
    assert warnings(steady, frames=16) == []
    odd = coverage({"x": [1.0] * 15 + [9.0]})
    messages = " ".join(warnings(odd, frames=4))
    assert "4 images are few" in messages
    assert "One image alone decides the range of 1 tensors (x)" in messages
    assert "grew by 800.0 %" in messages


def test_simulation_equals_integer_arithmetic_written_out():
    """Two convolutions in int8 products and int32 sums, by loops, against the rendered network."""
    rng = np.random.default_rng(5)
    first, second = rng.normal(size=(4, 3, 3, 3)).astype(np.float32), rng.normal(size=(2, 4, 1, 1)).astype(np.float32)
    bias = rng.normal(size=4).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "a", "bias"], ["x"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Conv", ["r", "b"], ["y"]),
    ]
    graph = network(nodes, {"a": first, "b": second, "bias": bias})
    frame = rng.normal(size=(1, 3, 8, 10)).astype(np.float32)
    seen = everything(graph, frame)
    amax = {name: float(np.abs(seen[name]).max()) * 0.8 for name in ("image", "r")}
    tensors = {
        name: TensorRange(low=-value, high=value, amax=value, seen_low=-value, seen_high=value)
        for name, value in amax.items()
    }
    model = ARITHMETICS["tensorrt"].render(graph.copy(), place_symmetric(graph, "conv-inputs", tensors), tensors)

    def layer(values, scale, weight, offset, pad):
        integers = np.clip(np.rint(values / np.float32(scale)), -128, 127).astype(np.int64)
        weight_scale = np.abs(weight).reshape(len(weight), -1).max(axis=1) / np.float32(127)
        kernel = np.rint(weight / weight_scale.reshape(-1, 1, 1, 1)).astype(np.int64)
        padded = np.pad(integers, ((0, 0), (pad, pad), (pad, pad)))
        size = weight.shape[2]
        rows, columns = padded.shape[1] - size + 1, padded.shape[2] - size + 1
        total = np.zeros((len(weight), rows, columns), dtype=np.int64)
        for out in range(len(weight)):
            for row in range(rows):
                for column in range(columns):
                    window = padded[:, row : row + size, column : column + size]
                    total[out, row, column] = (window * kernel[out]).sum()
        return total * (scale * weight_scale.astype(np.float64))[:, None, None] + offset[:, None, None]

    hidden = np.maximum(layer(frame[0], amax["image"] / 127, first, bias, 1), 0).astype(np.float32)
    expected = layer(hidden, amax["r"] / 127, second, np.zeros(2), 0)
    np.testing.assert_allclose(final(model, frame)[0], expected, rtol=1e-4, atol=1e-4)


def test_full_placement_leaves_fusions_whole(small, image):
    """conv2's output is added within its kernel; nothing stands between a layer, its norm and its activation."""
    values = everything(small, image)
    tensors = {
        name: TensorRange(low=-1, high=1, amax=float(np.abs(values[name]).max()), seen_low=-1, seen_high=1)
        for name in observed_tensors(small)
    }
    full = place_symmetric(small, "full", tensors).activations
    assert {"image", "r1", "r2", "pooled", "both", "r3"} <= set(full)
    assert not {"c2", "sum", "c3", "logits"} & set(full)
    narrow = place_symmetric(small, "conv-inputs", tensors).activations
    assert set(narrow) == {"image", "r1", "both", "r3"}


def test_calibrating_by_channel_reads_every_frame(tmp_path):
    """Guards the pass structure: the frames of each pass are the same ones."""
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data", frames=8)
    out = tmp_path / "r.json"
    ranges = calibrate(model, data=data, split="all", out=out, method="minmax", corrections=("reconstruct",))
    preprocess_max = max(
        float(cv2.imread(str(path)).max()) for path in sorted((tmp_path / "data" / "images").iterdir())
    )
    assert ranges.tensors["image"].seen_high == pytest.approx((preprocess_max / 255 - 0.5) / 0.25, rel=1e-4)


@pytest.mark.parametrize("size", [0.0, 1e-40])
def test_a_dead_channel_becomes_zeros(tmp_path, size):
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data", frames=8)
    changed = onnx.load(model)
    for tensor in changed.graph.initializer:
        if tensor.name in ("w2", "b2"):
            values = numpy_helper.to_array(tensor).copy()
            values[3] = size
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(changed, str(tmp_path / "dead.onnx"))
    manifest = load_manifest(model)
    save_manifest(tmp_path / "dead.onnx", manifest)
    config = {"data": data, "split": "all", "preset": "fast", "out": tmp_path / "r.json"}
    ranges = calibrate(tmp_path / "dead.onnx", **config)
    graph = load_float_graph(tmp_path / "dead.onnx")
    image = np.random.default_rng(0).uniform(-2, 2, (1, 3, HEIGHT, WIDTH)).astype(np.float32)
    wanted = final(graph.model, image)
    for model in (
        ARITHMETICS["tensorrt"].render(graph.copy(), place_symmetric(graph, "full", ranges.tensors), ranges.tensors),
        ARITHMETICS["onnxruntime"].render(graph.copy(), place_for_integer_kernels(graph), ranges.tensors),
    ):
        error = np.square(final(model, image) - wanted).mean() / np.square(wanted).mean()
        assert error < 10**-2


def test_reconstruction_passes_over_layers_without_a_bias():
    """A matrix product with constants, as some exporters write bilinear resizing, has no bias to correct."""
    rng = np.random.default_rng(6)
    nodes = [
        helper.make_node("Conv", ["image", "a"], ["x"]),
        helper.make_node("MatMul", ["x", "b"], ["m"]),
        helper.make_node("Conv", ["m", "c"], ["y"]),
    ]
    graph = network(
        nodes,
        {"a": rng.normal(size=(4, 3, 1, 1)), "b": rng.normal(size=(10, 20)), "c": rng.normal(size=(2, 4, 1, 1))},
        output="y",
    )
    frame = rng.normal(size=(1, 3, 8, 10)).astype(np.float32)
    seen = everything(graph, frame)
    tensors = {}
    for name in ("image", "x", "m"):
        amax = float(np.abs(seen[name]).max())
        tensors[name] = TensorRange(low=-amax, high=amax, amax=amax, seen_low=-amax, seen_high=amax)
    placement = place_symmetric(graph, "conv-inputs", tensors)
    wanted = final(graph.model, frame)
    reconstruct_weights_(
        graph, placement, ARITHMETICS["tensorrt"].quantizers(placement, tensors), [{"image": frame}], EVERYWHERE
    )
    found = final(ARITHMETICS["tensorrt"].render(graph, placement, tensors), frame)
    assert np.square(found - wanted).mean() < 1e-2 * np.square(wanted).mean()
