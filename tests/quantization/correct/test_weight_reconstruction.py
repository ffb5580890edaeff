import numpy as np
import onnx
import pytest
import threadpoolctl
from onnx import TensorProto, helper, numpy_helper
from small_network import write_dataset, write_small_network

from jetseg.onnx.graph import Graph
from jetseg.onnx.session import make_session
from jetseg.quantization.arithmetic import ARITHMETICS
from jetseg.quantization.correct import corrector
from jetseg.quantization.correct.positions import positions_per_frame
from jetseg.quantization.correct.weight_reconstruction import RIDGE, _System, reconstruct_weights_, round_columns
from jetseg.quantization.qdq.placement import place_symmetric
from jetseg.quantization.ranges import TensorRange
from jetseg.workflows.calibration import calibrate


def network(nodes, weights, image=(1, 3, 8, 10), output="y") -> Graph:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, list(image))],
        [onnx.ValueInfoProto(name=output)],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()],
    )
    return Graph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9))


def final(model: onnx.ModelProto, image: np.ndarray) -> np.ndarray:
    return make_session(model.SerializeToString(), optimize=False).run(None, {"image": image})[0]


@pytest.mark.parametrize(("groups", "outputs", "inputs"), [(6, 1, 9), (1, 4, 12)])
def test_sums_over_frames_solve_the_same_as_all_samples_at_once(groups, outputs, inputs):
    """A depthwise layer and an ordinary one, against ridge regression of stacked and centered samples."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(groups, outputs, inputs))
    frames = [
        (
            rng.normal(0.5, 1, (groups, 40, inputs)).astype(np.float32),
            rng.normal(300, 1, (groups, 40, outputs)).astype(np.float32),
        )
        for _ in range(3)
    ]
    system = _System(weight)
    for frame in frames:
        system.add(*frame)
    found = system.solve(1 << 20)  # so fine that rounding is not seen
    for group in range(groups):
        read = np.concatenate([values[group] for values, _ in frames]).astype(np.float64)
        wanted = np.concatenate([values[group] for _, values in frames]).astype(np.float64)
        miss = wanted - read @ weight[group].T
        read, miss = read - read.mean(axis=0), miss - miss.mean(axis=0)
        held = np.sqrt(RIDGE * np.square(read).sum() / inputs) * np.eye(inputs)
        correction = np.linalg.lstsq(
            np.concatenate([read, held]), np.concatenate([miss, np.zeros((inputs, outputs))]), rcond=None
        )[0].T
        np.testing.assert_allclose(found[group], weight[group] + correction, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("groups", "outputs", "inputs"), [(3, 1, 9), (1, 3, 80)])
def test_columns_make_up_for_the_rounding_of_those_before_them(groups, outputs, inputs):
    """Against its definition: after each column, the rest is solved anew for the least error that is left."""
    rng = np.random.default_rng(2)
    weight = rng.normal(size=(groups, outputs, inputs))
    samples = rng.normal(size=(groups, 400, inputs)) @ (np.eye(inputs) + rng.normal(0, 0.2, (inputs, inputs)))
    moments = samples.transpose(0, 2, 1) @ samples / 400
    found = round_columns(weight, moments, 7)
    for group in range(groups):
        held = moments[group] + np.eye(inputs) * 0.01 * np.diagonal(moments[group]).mean()
        order = np.argsort(-np.diagonal(moments[group]))
        for row in range(outputs):
            exact = weight[group, row]
            scale, widest, left = np.abs(exact).max() / 7, np.abs(exact).argmax(), exact.copy()
            for place, column in enumerate(order):
                later = order[place + 1 :]
                rounded = np.clip(np.rint(left[column] / scale), -7, 7) * scale
                miss = left[column] - (exact[column] if column == widest else rounded)
                left[column] -= miss
                left[later] += np.linalg.solve(held[np.ix_(later, later)], held[later, column] * miss)
            np.testing.assert_allclose(found[group, row], left, atol=1e-9)


def test_small_systems_read_few_positions_and_large_ones_no_more_than_before():
    assert positions_per_frame(9) == 108
    assert max(positions_per_frame(products) for products in range(1, 2000)) <= 4096
    assert positions_per_frame(1200) == 512


def test_a_bias_that_is_named_but_left_out_is_corrected():
    """An empty third input means no bias, as a missing one does."""
    rng = np.random.default_rng(1)
    graph = network([helper.make_node("Conv", ["image", "w", ""], ["y"])], {"w": rng.normal(size=(4, 3, 1, 1))})
    frame = rng.normal(size=(1, 3, 8, 10)).astype(np.float32)
    # values above half the range are clipped, which moves the mean
    tensors = {"image": TensorRange(low=-0.5, high=0.5, amax=0.5, seen_low=-4.0, seen_high=4.0)}
    wanted = final(graph.model, frame + 1).mean(axis=(0, 2, 3))
    placement = place_symmetric(graph, "conv-inputs", tensors)
    quantizers = ARITHMETICS["tensorrt"].quantizers(placement, tensors)
    reconstruct_weights_(graph, placement, quantizers, [{"image": frame + 1}], [np.ones((1, 1))])
    found = final(ARITHMETICS["tensorrt"].render(graph, placement, tensors), frame + 1).mean(axis=(0, 2, 3))
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)


def test_small_products_are_left_to_one_thread(tmp_path, monkeypatch):
    """Threads of OpenBLAS spin between products, and take a core each for nothing."""
    seen = []

    def look(*given, **settings):
        seen.extend(entry["num_threads"] for entry in threadpoolctl.threadpool_info() if entry["user_api"] == "blas")
        return reconstruct_weights_(*given, **settings)

    monkeypatch.setattr(corrector, "reconstruct_weights_", look)
    data = write_dataset(tmp_path / "d", frames=6)
    calibrate(write_small_network(tmp_path), data=data, split="all", out=tmp_path / "r.json")
    assert seen
    assert set(seen) == {1}
