"""Children that were damaged on purpose: the first sentence names what was done to them."""

import re
from html import unescape

import numpy as np
import onnx
import pytest
from colored import SIGN_CHANNELS, manifest, weights, write_network, write_shapes
from known_windows import known_estimator

from jetseg.errors import ConfigError
from jetseg.explanation.record import as_record
from jetseg.network import save_manifest
from jetseg.workflows.explanation import explain


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("shapes") / "data")


@pytest.fixture
def parent(tmp_path):
    return write_network(tmp_path / "parent.onnx")


def explained(parent, child, shapes, **settings):
    return explain(parent, [child], data=shapes, split="all", **settings).children[0]


def test_the_same_network_lost_nothing(parent, shapes, tmp_path):
    child = explained(parent, write_network(tmp_path / "child.onnx"), shapes)
    assert not child.findings
    assert child.summary[0].startswith("No loss was found beyond chance")


def test_a_damaged_layer_is_named(parent, shapes, tmp_path):
    damaged = weights()
    damaged["network.decide.weight"][1] *= np.array([0.1, 1, 0.2, 1, 1] * 3)[:, None, None]
    child = explained(parent, write_network(tmp_path / "child.onnx", damaged), shapes)
    first = child.findings[0]
    assert child.summary[0].startswith("sign lost ")
    assert "layer decide has other weights; with it alone as in the parent" in child.summary[0]
    assert (first.kind, first.subject, first.cause.kind, first.cause.layer) == ("class", "sign", "weights", "scores")
    assert first.cause.restored == pytest.approx(child.effects.parent - child.effects.child, abs=1e-3)
    assert first.interval[0] < first.loss < first.interval[1]


def test_channels_that_are_zeroed_are_counted(parent, shapes, tmp_path):
    damaged = weights()
    damaged["network.detect.weight"][list(SIGN_CHANNELS[:3])] = 0
    child = explained(parent, write_network(tmp_path / "child.onnx", damaged), shapes)
    assert child.findings[0].subject == "sign"
    assert child.findings[0].cause.channels == SIGN_CHANNELS[:3]
    assert "3 of the 5 channels of layer detect that mattered most to it were removed" in child.summary[0]


def test_small_objects_that_vanish_are_named(parent, shapes, tmp_path):
    child = explained(parent, write_network(tmp_path / "child.onnx", smooth=7), shapes)
    first = child.findings[0]
    assert (first.kind, first.part) == ("size", "small")
    assert child.summary[0].startswith("Small objects are lost: of ")
    assert first.before > 95
    assert first.after < 20


@pytest.mark.long
def test_another_temperature_is_named_with_what_mends_it(parent, shapes, tmp_path):
    child = explained(parent, write_network(tmp_path / "child.onnx", heat=4.0), shapes)
    assert [finding.kind for finding in child.findings] == ["calibration"]
    assert child.summary[0].startswith("No pixel changed its class, but its confidence is wrong")
    whole = explain(parent, [tmp_path / "child.onnx"], data=shapes, split="all")
    before, after = whole.seen.temperatures
    assert after == pytest.approx(before / 4, rel=0.01)
    assert whole.seen.mended[1] == pytest.approx(whole.seen.mended[0], abs=0.1)
    repair = whole.children[0].findings[0].repair
    assert repair.share > 0.9
    assert repair.command == ""  # 24 frames are too few to learn from
    hot = manifest()
    learned = known_estimator().model_copy(update={"temperature": 0.25})
    save_manifest(tmp_path / "child.onnx", hot.changed(estimator=learned))
    assert not explained(parent, tmp_path / "child.onnx", shapes).findings


def as_class_maps(path):
    """Lets a network give class ids in place of scores."""
    model = onnx.load(str(path))
    model.graph.node.append(onnx.helper.make_node("ArgMax", ["logits"], ["ids"], axis=1, keepdims=0))
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, [1, 96, 128]))
    onnx.save(model, str(path))
    save_manifest(path, manifest().with_output(kind="classmap"))
    return path


@pytest.mark.parametrize("which", ["child", "both"])
def test_networks_that_give_class_maps_only_are_compared_by_these(shapes, tmp_path, which):
    parent, child = write_network(tmp_path / "parent.onnx"), write_network(tmp_path / "child.onnx", smooth=7)
    as_class_maps(child)
    if which == "both":
        as_class_maps(parent)
    result = explain(parent, [child], data=shapes, split="all", out=tmp_path / "page.html", examples=0)
    assert result.children[0].summary[0].startswith("Small objects are lost")
    record = as_record(result)["children"][0]
    assert (record["calibration"], record["temperature"]) == (None, None)
    assert (record["flips"]["undecided"] is None) == (which == "both")


@pytest.mark.long
def test_the_page_says_what_the_summary_says_and_needs_nothing_else(parent, shapes, tmp_path):
    out = tmp_path / "new" / "lost.html"
    child = explained(parent, write_network(tmp_path / "child.onnx", smooth=7), shapes, out=out, examples=1)
    page = unescape(out.read_text(encoding="utf-8"))
    assert all(words in page for words in child.summary)
    assert page.index(child.summary[0]) < page.index(child.summary[1])
    assert page.count("data:image/jpeg") == 5
    assert not set(re.findall(r"<(script|link|iframe)\b", page))
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', page)) <= set(ids)


def test_a_child_of_which_no_repair_can_be_tried_is_refused_before_it_is_looked_at(parent, shapes, tmp_path):
    child = write_network(tmp_path / "child.onnx", smooth=7)
    with pytest.raises(ConfigError, match=r"no repair of child.onnx can be tried: .* with quantizers"):
        explain(parent, [child], data=shapes, split="all", repair=True)
    assert explained(parent, child, shapes).findings
