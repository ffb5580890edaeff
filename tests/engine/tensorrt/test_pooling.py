"""A pooling over a huge window becomes others that compute the same and that NVIDIA's parser takes."""

import numpy as np
import onnx
import pytest
from onnx import helper
from tensorrt_networks import graph

from jetseg.engine.tensorrt import pooling
from jetseg.engine.tensorrt.legalize import legalize_
from jetseg.engine.tensorrt.lint import LintConfig, lint
from jetseg.engine.tensorrt.plan import build_plan
from jetseg.engine.tensorrt.pooling import MOST_WINDOW, split_large_windows_, too_large
from jetseg.errors import ArtifactError, MissingDependencyError
from jetseg.onnx.graph import Graph
from jetseg.onnx.session import make_session

BEYOND = {"kernel_shape": [320, 320]}
FORMS = {
    "whole": (BEYOND, (1, 2, 320, 320), ["GlobalAveragePool"]),
    "one axis whole": (BEYOND, (1, 2, 330, 320), ["AveragePool"] * 2),
    "strided": ({**BEYOND, "strides": [5, 9]}, (1, 2, 341, 352), ["AveragePool"] * 2),
    "uneven pads": ({**BEYOND, "pads": [30, 0, 9, 55], "strides": [40, 40]}, (1, 2, 330, 340), ["AveragePool"] * 2),
    "counted pads": (
        {**BEYOND, "pads": [30, 20, 9, 55], "strides": [40, 40], "count_include_pad": 1},
        (1, 2, 330, 340),
        ["AveragePool"] * 2,
    ),
    "ceil": ({**BEYOND, "strides": [50, 50], "ceil_mode": 1}, (1, 2, 375, 390), ["AveragePool"] * 2),
    "same": ({**BEYOND, "strides": [100, 100], "auto_pad": "SAME_UPPER"}, (1, 2, 333, 341), ["AveragePool"] * 2),
}


def pool(operator="AveragePool", shape=(1, 2, 320, 320), **attributes):
    return graph([helper.make_node(operator, ["image"], ["out"], "pool", **attributes)], {}, shape)


def run(model, shape):
    image = np.random.default_rng(1).normal(size=shape).astype(np.float32) + 0.3
    return make_session(model.SerializeToString()).run(None, {"image": image})[0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("operator", ["AveragePool", "MaxPool"])
def test_values_stay_and_windows_fit(form, operator):
    attributes, shape, operators = FORMS[form]
    if operator == "MaxPool":
        attributes = {name: value for name, value in attributes.items() if name != "count_include_pad"}
    model = pool(operator, shape, **attributes)
    before = run(model, shape)
    assert split_large_windows_(Graph(model)) == 1
    assert [node.op_type for node in model.graph.node] == [
        name.replace("Average", "Max") if operator == "MaxPool" else name for name in operators
    ]
    assert not any(too_large(node) for node in model.graph.node)
    np.testing.assert_allclose(run(model, shape), before, rtol=1e-4, atol=1e-6)
    assert split_large_windows_(Graph(model)) == 0


def test_what_fits_stays_as_it_is():
    model = pool(kernel_shape=[316, 316])
    before = model.SerializeToString()
    assert split_large_windows_(Graph(model)) == 0
    assert model.SerializeToString() == before


def test_what_cannot_be_checked_is_left_and_lint_names_it(monkeypatch, tmp_path):
    def missing(*_):
        raise MissingDependencyError("onnxruntime", "cpu", "runs networks")

    monkeypatch.setattr("jetseg.onnx.session.make_session", missing)
    model = pool(**BEYOND)
    assert split_large_windows_(Graph(model)) == 0
    onnx.save(model, str(tmp_path / "n.onnx"))
    (finding,) = lint(tmp_path / "n.onnx", LintConfig()).findings
    assert (finding.kind, finding.found) == (
        "refused",
        "its window has more elements than TensorRT takes, 99999 over two axes.",
    )


def test_a_rewrite_that_computes_something_else_is_not_made(monkeypatch):
    def wrong(graph, node):
        steps = split(graph, node)
        steps[0].attribute[0].ints[0] += 1
        return steps

    split = pooling._one_for_each_axis
    monkeypatch.setattr(pooling, "_one_for_each_axis", wrong)
    model = pool(shape=(1, 2, 341, 352), **BEYOND)
    assert split_large_windows_(Graph(model)) == 0
    assert [node.op_type for node in model.graph.node] == ["AveragePool"]


@pytest.mark.parametrize("shape", [(1, 2, 320, 320), (1, 2, 330, 325)])
def test_the_real_parser_refuses_it_before_and_takes_it_after(shape):
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (extra rtx)")

    def sm86(settings):
        settings.num_compute_capabilities = 1
        settings.set_compute_capability(trt.ComputeCapability.SM86, 0)

    model = pool(shape=shape, **BEYOND)
    with pytest.raises(ArtifactError, match="TensorRT refuses the network"):
        build_plan(trt, model, sm86)
    (sentence,) = legalize_(Graph(model))
    assert "windows" in sentence
    assert len(build_plan(trt, model, sm86)) > 1000


@pytest.mark.parametrize(("axes", "most"), MOST_WINDOW.items())
def test_the_limit_is_the_real_parsers(axes, most):
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (extra rtx)")
    log = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(log)
    for size, taken in ((most, True), (most + 1, False)):
        window = [1] * (axes - 1) + [size]
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        model = pool(shape=(1, 1, *window), kernel_shape=window)
        assert trt.OnnxParser(network, log).parse(model.SerializeToString()) == taken
