import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from small_network import HEIGHT, WIDTH, small_network
from symmetric_qdq import quantize_symmetric

from jetseg.compress.qat.module import OnnxModule
from jetseg.errors import ArtifactError
from jetseg.exporters.onnx_export import export_module
from jetseg.models import create_model
from jetseg.onnx.graph import Graph
from jetseg.onnx.session import make_session

TINY = {
    "fast-scnn": {"width": 0.25},
    "ddrnet-23-slim": {"width": 8},
    "unet": {"width": 8, "depth": 2},
    "tiny": {"width": 8},
}
SHARED = (
    "espnet_camvid/espnet_p2q8_camvid_480x360.onnx",
    "espnetv2_cityscapes/espnetv2_s0.5_city_512x256.onnx",
    "camvid_teacher/teacher_camvid_480x360.onnx",
)


def image(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape or (1, 3, HEIGHT, WIDTH)).astype(np.float32)


def relative_error(model, x):
    """Largest difference between torch and ONNX Runtime without optimization, as a part of the largest output."""
    name = model.graph.input[0].name
    (expected,) = make_session(model.SerializeToString(), threads=1, optimize=False).run(None, {name: x})
    with torch.no_grad():
        actual = OnnxModule(model)(torch.from_numpy(x)).numpy()
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def test_float_and_quantized_small_network_equal_onnx_runtime():
    float_model = small_network()
    model = quantize_symmetric(float_model, {"image": image()})
    assert relative_error(float_model, image(seed=1)) < 1e-5
    assert relative_error(model, image(seed=1)) < 1e-5
    plain = make_session(float_model.SerializeToString()).run(None, {"image": image(seed=1)})[0]
    with torch.no_grad():
        quantized = OnnxModule(model)(torch.from_numpy(image(seed=1))).numpy()
    assert np.abs(plain - quantized).max() > 1e-3  # it does round


@pytest.mark.long
@pytest.mark.parametrize("name", TINY)
def test_registry_network_equals_onnx_runtime(name):
    torch.manual_seed(0)
    network = create_model(name, 3, **TINY[name]).eval()
    x = image(1, 3, 64, 96)
    model = export_module(network, torch.from_numpy(x), "logits")
    assert relative_error(model, x) < 1e-3
    quantized = quantize_symmetric(model, {"image": x})
    with torch.no_grad():
        gradient_free = OnnxModule(quantized)(torch.from_numpy(x))
    assert gradient_free.shape == (1, 3, 64, 96)


@pytest.mark.parametrize("place", SHARED)
def test_foreign_network_equals_onnx_runtime(shared_dir, place):
    model = onnx.load(shared_dir / "models" / place)
    shape = [size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim]
    assert relative_error(model, image(*shape) * (0.008 if "espnet_camvid" in place else 1)) < 1e-3


def test_gradients_reach_weights_and_scales_but_not_normalizations():
    model = quantize_symmetric(small_network(), {"image": image()})
    module = OnnxModule(model)
    assert set(module.weight_names) == {"w1", "w2", "w3", "w4", "b2", "b4"}
    module(torch.from_numpy(image(seed=1))).square().mean().backward()
    gradients = {name: parameter.grad for name, parameter in module.named_parameters()}
    assert len(gradients) == 6 + 4
    assert all(gradient is not None and bool(gradient.any()) for gradient in gradients.values())


def test_other_batches_and_sizes_are_fine_where_nothing_is_fixed():
    module = OnnxModule(quantize_symmetric(small_network(), {"image": image()}))
    with torch.no_grad():
        batch = torch.from_numpy(image(3, 3, 2 * HEIGHT, WIDTH))
        assert torch.allclose(module(batch)[1:2], module(batch[1:2]), atol=1e-6)


def test_activations_that_start_with_one_scale_share_it():
    model = quantize_symmetric(small_network(), {"image": image()})
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    tensors["r1.scale"].CopyFrom(numpy_helper.from_array(np.float32(0.5), "r1.scale"))
    tensors["both.scale"].CopyFrom(numpy_helper.from_array(np.float32(0.5), "both.scale"))
    module = OnnxModule(model)
    assert module.quantizer_of["r1"] == module.quantizer_of["both"]
    assert len(module.activations) == 3


def test_weight_of_two_layers_keeps_one_set_of_scales():
    model = quantize_symmetric(small_network(), {"image": image()})
    twice = [node for node in model.graph.node if node.output[0].startswith("c2.weight")]
    for original in twice:
        node = model.graph.node.add()
        node.CopyFrom(original)
    constants = {"c2.weight.scale": "other.scale", "c2.weight.zero_point": "other.zero"}
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name in constants]:
        copied = model.graph.initializer.add()
        copied.CopyFrom(tensor)
        copied.name = constants[tensor.name]
    first, second = model.graph.node[-2:]
    first.output[0] = second.input[0] = "other.quantized"
    second.output[0] = "other.dequantized"
    for node in (first, second):
        node.input[1:] = ["other.scale", "other.zero"]
    model.graph.node.append(helper.make_node("Conv", ["r1", "other.dequantized"], ["also"], pads=[1, 1, 1, 1]))
    with torch.no_grad():
        assert OnnxModule(model, ["also"])(torch.from_numpy(image())).shape == (1, 8, HEIGHT // 2, WIDTH // 2)
    model.graph.node.append(helper.make_node("Add", ["also", "c2"], ["both of them"]))
    module = OnnxModule(model, ["both of them"])
    assert module.scale_sources["other.scale"] == module.scale_sources["c2.weight.scale"] == "w2"
    scale = next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "other.scale")
    with pytest.raises(ArtifactError, match="w2 is quantized with other scales as well"):
        OnnxModule(changed(model, "other.scale", 2 * scale), ["both of them"])


def changed(model, name, values):
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(values, name))
    return model


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("r1.zero_point", np.int8(3), "zero point is not int8 zero"),
        ("r1.zero_point", np.uint8(0), "zero point is not int8 zero"),
        ("r1.scale", np.float32(0), "not a positive float32"),
        ("r1.scale", np.float32(np.nan), "not a positive float32"),
    ],
)
def test_quantizer_that_is_not_symmetric_is_refused(name, values, reason):
    model = quantize_symmetric(small_network(), {"image": image()})
    with pytest.raises(ArtifactError, match=reason):
        OnnxModule(changed(model, name, np.asarray(values)))


def test_weights_that_are_integers_already_are_refused():
    model = small_network()
    conv = model.graph.node[0]
    for key, values in (("q", np.zeros((8, 3, 3, 3), np.int8)), ("s", np.float32(1)), ("z", np.int8(0))):
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), key))
    conv.input[1] = "w"
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], "weight"))
    with pytest.raises(ArtifactError, match="weight .* reads integers that no QuantizeLinear made"):
        OnnxModule(model)


def test_several_outputs_need_a_choice():
    model = small_network()
    model.graph.output.append(onnx.ValueInfoProto(name="r1"))
    with pytest.raises(ArtifactError, match=r"2 outputs \(logits, r1\)"):
        OnnxModule(model)
    with torch.no_grad():
        first, logits = OnnxModule(model, ["r1", "logits"])(torch.from_numpy(image()))
        assert first.shape == (1, 8, HEIGHT // 2, WIDTH // 2)
        assert torch.equal(logits, OnnxModule(model, ["logits"])(torch.from_numpy(image())))


def test_training_does_not_depend_on_the_size_that_weights_happen_to_have():
    """One layer a thousand times smaller, as one that reads pixels, and the next one larger: the same network."""
    plain, resized = small_network(), small_network()
    for name, factor in (("w3", 2.0**-10), ("w4", 2.0**10)):
        changed(resized, name, Graph(plain).weight(name) * np.float32(factor))
    trained = []
    for model in (plain, resized):
        module = OnnxModule(quantize_symmetric(model, {"image": image()}))
        optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
        for seed in range(5):
            optimizer.zero_grad()
            module(torch.from_numpy(image(seed=seed))).square().mean().backward()
            optimizer.step()
        with torch.no_grad():
            trained.append(module(torch.from_numpy(image(seed=9))).numpy())
    np.testing.assert_allclose(trained[0], trained[1], atol=1e-5 * np.abs(trained[0]).max())


def test_zeros_of_kernels_stay_and_those_of_biases_do_not():
    model = small_network()
    kernel = np.where(np.arange(576).reshape(8, 8, 3, 3) % 4 < 2, 0, Graph(model).weight("w2"))
    changed(changed(model, "w2", kernel.astype(np.float32)), "b2", np.zeros(8, np.float32))
    module = OnnxModule(quantize_symmetric(model, {"image": image()}))
    assert all(np.array_equal(module.weights[name].detach(), Graph(model).weight(name)) for name in module.weight_names)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    module(torch.from_numpy(image(seed=1))).square().mean().backward()
    optimizer.step()
    trained = {name: weight.detach().numpy() for name, weight in module.weights.items()}
    assert np.array_equal(trained["w2"] == 0, kernel == 0)
    assert np.all(trained["b2"] != 0)


def test_sizes_are_no_values_to_export():
    module, x = OnnxModule(small_network()).eval(), torch.rand(1, 3, 24, 32)
    captured = torch.export.export(module, (x,)).module()
    assert torch.equal(captured(x), module(x))
