import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from jetseg.compress.qat.quantizers import ActivationQuantizer, WeightQuantizer, fake_quantize, units
from jetseg.onnx.session import make_session


def by_onnx_runtime(x, scale, axis=None):
    where = {} if axis is None else {"axis": axis}
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], **where),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], **where),
        ],
        "pair",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, x.shape)],
        [numpy_helper.from_array(scale, "s"), numpy_helper.from_array(np.zeros(scale.shape, np.int8), "z")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return make_session(model.SerializeToString(), optimize=False).run(None, {"x": x})[0]


def test_rounding_is_that_of_onnx_even_at_ties_and_limits():
    ties = np.arange(-131, 131, 0.5, dtype=np.float32) * np.float32(0.25)
    noise = np.random.default_rng(0).normal(0, 20, 5000).astype(np.float32)
    x = np.concatenate([ties, noise])
    for value in (0.25, 0.1, 0.0371):
        scale = np.float32(value)
        actual = fake_quantize(torch.from_numpy(x), torch.tensor(scale)).numpy()
        assert np.array_equal(actual, by_onnx_runtime(x, np.asarray(scale)))


def test_gradients_pass_straight_through_and_tell_the_scale_its_error():
    x = torch.tensor([0.3, -0.6, 500.0, -500.0], requires_grad=True)
    scale = torch.tensor(1.0, requires_grad=True)
    fake_quantize(x, scale).backward(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert x.grad.tolist() == [1.0, 2.0, 0.0, 0.0]
    # round(0.3) - 0.3, round(-0.6) + 0.6, the upper and the lower limit
    expected = (1 * -0.3 + 2 * -0.4 + 3 * 127 + 4 * -128) / np.sqrt(4 * 127)
    assert scale.grad.item() == pytest.approx(expected)


def test_learned_scale_starts_exact_and_stays_positive():
    start = torch.tensor(0.0371)
    quantizer = ActivationQuantizer(start, "learned")
    assert quantizer.scale.item() == start.item()
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=10.0)
    for _ in range(20):
        optimizer.zero_grad()
        quantizer(torch.randn(100)).square().sum().backward()
        optimizer.step()
    assert 0 < quantizer.scale.item() != start.item()  # at this rate it swings, and must not cross zero
    assert not any(p.requires_grad for p in ActivationQuantizer(start, "fixed").parameters())


@pytest.mark.parametrize(("axis", "shape"), [(0, (6, 4, 3, 3)), (1, (4, 6, 3, 3)), (1, (5, 6))])
def test_weight_scales_follow_the_largest_weight_of_each_channel(axis, shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    others = tuple(index for index in range(len(shape)) if index != axis)
    scale = weight.abs().amax(others) / 127
    quantizer = WeightQuantizer(weight, scale, axis)
    assert torch.equal(quantizer.scale(weight).flatten(), scale)
    doubled = quantizer(2 * weight).numpy()
    assert np.array_equal(doubled, by_onnx_runtime(2 * weight.numpy(), 2 * scale.numpy(), axis))


def test_weight_scale_keeps_its_share_and_copes_with_a_channel_of_zeros():
    weight = torch.tensor([[127.0, -1.0], [0.0, 0.0]])
    quantizer = WeightQuantizer(weight, torch.tensor([0.5, 3.0]), 0)
    assert quantizer.scale(weight).flatten().tolist() == [0.5, 3.0]
    assert quantizer(weight).tolist() == [[63.5, -1.0], [0.0, 0.0]]
    assert quantizer.scale(torch.tensor([[254.0, 0.0], [1.27, 0.0]])).flatten().tolist() == pytest.approx([1.0, 0.01])


def test_matrices_that_take_means_do_not_move_and_others_do():
    pooling = torch.eye(8).repeat_interleave(4, 0) / 4
    resizing = torch.nn.functional.interpolate(torch.eye(5)[None], size=9, mode="linear")[0]
    for fixed in (pooling, pooling.T, resizing, resizing.T):
        assert not units(fixed, [0]).any()
    assert units(torch.rand(8, 8)).min() > 0
    assert units(torch.full((1,), 1.0)).tolist() == [1.0]
    assert units(torch.zeros(3)).tolist() == [1.0] * 3
