"""Transformers: factors through layer norms, linear layers reconstructed, quantizers where attention allows them."""

import numpy as np
import pytest
from onnx import helper, numpy_helper
from small_network import HEIGHT, WIDTH
from small_transformer import ATTENTION, LINEAR, small_transformer

from jetseg.onnx.channel_axes import channel_axes
from jetseg.onnx.graph import Graph
from jetseg.onnx.layerwise import LayerwiseRunner, probe
from jetseg.onnx.session import make_session
from jetseg.quantization.arithmetic import ARITHMETICS
from jetseg.quantization.correct.channel_groups import channel_groups
from jetseg.quantization.correct.equalization import equalize_
from jetseg.quantization.correct.weight_reconstruction import reconstruct_weights_
from jetseg.quantization.qdq.integer_placement import place_for_integer_kernels
from jetseg.quantization.qdq.placement import observed_tensors, place_symmetric
from jetseg.quantization.ranges import TensorRange


@pytest.fixture
def feeds():
    noise = np.random.default_rng(1)
    return [{"image": noise.normal(size=(1, 3, HEIGHT, WIDTH)).astype(np.float32)} for _ in range(4)]


def logits(model, feeds, *, integers=False):
    session = make_session(model.SerializeToString(), threads=1, optimize=integers, integers=integers)
    return np.concatenate([session.run(["logits"], feed)[0] for feed in feeds])


def activations(graph, feeds):
    """All values of each float activation over the frames."""
    runner = LayerwiseRunner(graph, feeds, 1)
    seen = {name: runner.values(name) for name in graph.inputs}
    for node in graph.nodes:
        runner.run(node)
        seen[node.output[0]] = runner.values(node.output[0])
    return {name: np.stack(values) for name, values in seen.items()}


def ranges(graph, feeds):
    seen = activations(graph, feeds)
    found = {}
    for name in observed_tensors(graph):
        low, high = float(seen[name].min()), float(seen[name].max())
        found[name] = TensorRange(low=low, high=high, amax=max(-low, high), seen_low=low, seen_high=high)
    return found


def equalized(graph, feeds):
    axes, graph = channel_axes(graph), graph.copy()
    seen = {name: values for name, values in activations(graph, feeds).items() if name in axes}
    magnitudes = {
        name: np.abs(np.moveaxis(values, axes[name] + 1, 0)).reshape(values.shape[axes[name] + 1], -1).max(axis=1)
        for name, values in seen.items()
    }
    assert equalize_(graph, magnitudes, probe(graph, feeds[0], 1).channels)
    return graph


def loss_db(graph, feeds, target, policy="conv-inputs"):
    """Noise of 8 bits in the logits, below their own power."""
    right, arithmetic, tensors = logits(graph.model, feeds), ARITHMETICS[target], ranges(graph, feeds)
    placement = arithmetic.place(graph, policy, tensors)
    found = logits(arithmetic.render(graph.copy(), placement, tensors), feeds)
    return float(10 * np.log10(right.var() / np.mean((found - right) ** 2)))


@pytest.mark.parametrize("target", ["tensorrt", "onnxruntime"])
def test_outlier_channels_behind_a_layer_norm_cost_nothing(feeds, target):
    plain, wide = Graph(small_transformer()), Graph(small_transformer(outliers=True))
    same = logits(plain.model, feeds)
    assert np.abs(logits(wide.model, feeds) - same).max() < 1e-4 * np.ptp(same)
    corrected = equalized(wide, feeds)
    assert np.abs(logits(corrected.model, feeds) - same).max() < 1e-4 * np.ptp(same)
    assert loss_db(wide, feeds, target) < loss_db(plain, feeds, target) - 5
    assert loss_db(corrected, feeds, target) > loss_db(plain, feeds, target) - 1


def test_channels_are_followed_to_where_linear_layers_read_them(feeds):
    graph = Graph(small_transformer())
    axes = channel_axes(graph)
    assert [axes[name] for name in ("image", "patches", "flat", "tokens", "normal1", "q", "turned")] == [
        1,
        1,
        1,
        2,
        2,
        2,
        1,
    ]
    groups = channel_groups(graph, probe(graph, feeds[0], 1).channels)
    free = {name for name, own in groups.of.items() if not groups.fixed[own].any()}
    assert {"normal1", "normal2", "normal3"} <= free
    assert not free & {
        "tokens",
        "stream1",
        "hidden",
        "q",
        "k",
        "v",
        "scores",
        "logits",
    }  # norms, GELU and softmax read them


@pytest.mark.parametrize("form", ["MatMul", "Gemm", "Gemm, turned"])
def test_factors_of_any_linear_layer_leave_what_it_computes(form):
    rng = np.random.default_rng(0)
    turned = form.endswith("turned")
    held = {
        "gain": rng.uniform(1, 40, 6),
        "shift": rng.normal(size=6),
        "b1": rng.normal(size=8),
        "b2": rng.normal(size=5),
    }
    held |= {"w1": rng.normal(size=(6, 8)), "w2": rng.normal(size=(8, 5))}
    if turned:
        held |= {name: held[name].T for name in ("w1", "w2")}
    nodes = [helper.make_node("LayerNormalization", ["x", "gain", "shift"], ["n"], axis=-1)]
    for number, read, made in (("1", "n", "h"), ("2", "r", "y")):
        weights = [f"w{number}", f"b{number}"]
        if form == "MatMul":  # a bias may stand on either side
            nodes.append(helper.make_node("MatMul", [read, weights[0]], [f"m{number}"]))
            nodes.append(helper.make_node("Add", [weights[1], f"m{number}"], [made]))
        else:
            nodes.append(helper.make_node("Gemm", [read, *weights], [made], transB=int(turned)))
        if number == "1":
            nodes.append(helper.make_node("Relu", ["h"], ["r"]))
    info = [helper.make_tensor_value_info(name, 1, [7, size]) for name, size in (("x", 6), ("y", 5))]
    initializers = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in held.items()]
    made = helper.make_graph(nodes, "g", info[:1], info[1:], initializers)
    graph = Graph(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9))
    feed = {"x": rng.normal(size=(7, 6)).astype(np.float32)}
    seen = activations(graph, [feed])
    changed = graph.copy()
    magnitudes = {name: np.abs(values).reshape(-1, values.shape[-1]).max(axis=0) for name, values in seen.items()}
    assert equalize_(changed, magnitudes, probe(graph, feed, 1).channels) == 14  # of the norm and of the hidden layer
    (after,) = make_session(changed.model.SerializeToString()).run(["y"], feed)
    np.testing.assert_allclose(after, seen["y"][0], atol=1e-4 * np.ptp(after))
    assert np.abs(changed.weight("gain") - graph.weight("gain")).max() > 0.1


def test_full_placement_rounds_nothing_that_norms_attention_and_gelu_read_themselves(feeds):
    graph = Graph(small_transformer())
    tensors = ranges(graph, feeds)
    least = place_symmetric(graph, "conv-inputs", tensors).activations
    full = place_symmetric(graph, "full", tensors).activations
    assert set(least) == {"image", "normal1", "mixed", "normal2", "gelu", "normal3"}
    assert set(full) == {*least, "coarse"}  # what the resizing reads from memory
    assert loss_db(graph, feeds, "tensorrt", "full") > 20


def test_attention_on_integers_computes_what_its_quantizers_say(feeds):
    graph = Graph(small_transformer())
    tensors = ranges(graph, feeds)
    placement = place_for_integer_kernels(graph, products=frozenset(ATTENTION))
    assert {*LINEAR, *ATTENTION} <= placement.integer_nodes
    assert {"scaled", "turned", "attention", "v"} <= set(placement.activations)
    kept = place_for_integer_kernels(graph, frozenset({"likeness"}), frozenset(ATTENTION))
    assert "likeness" not in kept.integer_nodes
    assert "scaled" not in kept.activations
    model = ARITHMETICS["onnxruntime"].render(graph.copy(), placement, tensors)
    right = logits(graph.model, feeds)
    exact, kernels = logits(model, feeds), logits(model, feeds, integers=True)
    assert np.abs(exact - right).max() < 0.05 * np.ptp(right)
    assert np.mean(kernels.argmax(1) == exact.argmax(1)) > 0.99
    np.testing.assert_allclose(kernels, exact, atol=0.02 * np.ptp(right))


def test_linear_layers_are_reconstructed_with_their_biases(feeds):
    graph = Graph(small_transformer())
    arithmetic, tensors, right = ARITHMETICS["onnxruntime"], ranges(graph, feeds), logits(graph.model, feeds)
    placement = arithmetic.place(graph, "conv-inputs", tensors)
    changed = graph.copy()
    quantizers, interest = arithmetic.quantizers(placement, tensors), [np.ones((HEIGHT, WIDTH))] * len(feeds)
    reconstruct_weights_(
        changed, placement, quantizers, feeds, interest, weight_limit=arithmetic.weight_limit, threads=1
    )
    for weight in ("wq", "wo", "w1", "w2", "bq", "b1", "b2"):
        assert not np.array_equal(changed.weight(weight), graph.weight(weight)), weight
    losses = [
        np.mean((logits(arithmetic.render(one.copy(), placement, tensors), feeds) - right) ** 2)
        for one in (changed, graph)
    ]
    assert losses[0] < 0.9 * losses[1]


def test_an_interpolation_by_a_matrix_is_no_linear_layer():
    """A matrix that mixes the columns of an image leaves its channels, and takes no factor of theirs."""
    rng = np.random.default_rng(0)
    held = {"w1": rng.normal(size=(4, 3, 1, 1)), "mix": rng.normal(size=(4, 4)), "w2": rng.normal(size=(2, 4, 1, 1))}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"]),
        helper.make_node("MatMul", ["c1", "mix"], ["mixed"]),
        helper.make_node("Conv", ["mixed", "w2"], ["y"]),
    ]
    info = [helper.make_tensor_value_info(name, 1, [1, size, 4, 4]) for name, size in (("x", 3), ("y", 2))]
    initializers = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in held.items()]
    graph = Graph(
        helper.make_model(
            helper.make_graph(nodes, "g", info[:1], info[1:], initializers),
            opset_imports=[helper.make_opsetid("", 18)],
            ir_version=9,
        )
    )
    feed = {"x": rng.normal(size=(1, 3, 4, 4)).astype(np.float32)}
    seen = activations(graph, [feed])
    changed = graph.copy()
    magnitudes = {name: np.abs(values[0, 0]).max(axis=(1, 2)) for name, values in seen.items()}
    assert equalize_(changed, magnitudes, probe(graph, feed, 1).channels) == 4
    (after,) = make_session(changed.model.SerializeToString()).run(["y"], feed)
    np.testing.assert_allclose(after, seen["y"][0], atol=1e-4 * np.ptp(after))
    assert np.array_equal(changed.weight("mix"), graph.weight("mix"))
