"""A quantized child of which one layer has a range that is far too wide."""

import onnx
import pytest
from colored import CLASSES, manifest, write_network, write_shapes

from jetseg.config import changed
from jetseg.data.dataset import open_split
from jetseg.explanation.causes.cause import Effects
from jetseg.explanation.causes.quantizers import QuantizedGraph, effects_of_quantizers, least_repair
from jetseg.explanation.causes.trials import Trials
from jetseg.manifest import Stage
from jetseg.network import open_network, save_manifest
from jetseg.onnx.graph import Graph
from jetseg.quantization.arithmetic import ARITHMETICS
from jetseg.quantization.ranges import save_ranges
from jetseg.workflows.calibration import calibrate
from jetseg.workflows.explanation import explain


@pytest.fixture
def shapes(tmp_path):
    return write_shapes(tmp_path / "shapes", frames=16)


@pytest.fixture
def pair(shapes, tmp_path):
    """The float network, and an INT8 one whose second layer hardly tells its inputs apart."""
    parent = write_network(tmp_path / "parent.onnx")
    ranges = calibrate(parent, data=shapes, split="all", images=8, preset="fast", out=tmp_path / "r.json")
    tensors = dict(ranges.record.tensors)
    tensors["positive"] = changed(tensors["positive"], low=0.0, high=60.0, amax=60.0)
    network = open_network(parent)
    child = tmp_path / "child.int8.onnx"
    spoiled = save_ranges(tmp_path / "child.int8.onnx.ranges.json", network, changed(ranges.record, tensors=tensors))
    graph, arithmetic = network.float_graph(), ARITHMETICS["onnxruntime"]
    placement = arithmetic.place(graph, "conv-inputs", tensors)
    onnx.save(arithmetic.render(graph, placement, tensors), str(child))
    stage = Stage(name="build-engine", settings={"method": "mse"})
    described = {"kind": "engine", "precision": "int8", "backend": "onnxruntime", "parent_sha256": network.sha256}
    save_manifest(child, manifest().changed(**described, calibration_sha256=spoiled.sha256, stages=(stage,)))
    return parent, child


def graphs(pair, shapes, subject="sign"):
    parent, child = (open_network(path) for path in pair)
    split = open_split(shapes, "all")
    return (
        parent.float_graph(),
        Graph(onnx.load(str(child.path))),
        Trials(manifest(), manifest(), split, [0, 3, 5], subject, 1),
    )


def test_the_first_sentence_names_the_layer_whose_quantizer_is_to_blame(pair, shapes):
    child = explain(pair[0], [pair[1]], data=shapes, split="all").children[0]
    first = child.findings[0]
    assert "layer decide is computed in fewer bits" in child.summary[0]
    assert (first.cause.kind, first.cause.layer) == ("quantizers", "scores")
    assert first.cause.proven
    assert first.repair.layers == ("scores", "positive", "seen")  # what writes integers for it goes with it
    assert first.repair.command.startswith("jetseg build-engine ")
    assert "--keep-float scores" in first.repair.command
    assert first.repair.recovered is None


@pytest.mark.long
def test_a_repair_that_was_tried_tells_what_came_back_and_what_it_costs(pair, shapes):
    child = explain(pair[0], [pair[1]], data=shapes, split="all", repair=True).children[0]
    repair = child.findings[0].repair
    assert repair.share > 0.5
    assert repair.recovered == pytest.approx(repair.share * child.findings[0].loss, abs=0.05)
    assert all(value > 0 for value in repair.latency_ms)
    assert "points come back, and a frame takes" in repair.words


def test_all_layers_in_float_compute_what_the_parent_computes(pair, shapes):
    parent, child, trials = graphs(pair, shapes)
    quantized = QuantizedGraph(child, parent)
    assert quantized.layers == ("seen", "scores")
    exact = trials.run(quantized.with_float(quantized.layers))
    assert exact.agreement(trials.run(parent.model)) > 99.9
    assert trials.run(quantized.with_float(())).agreement(trials.run(child.model)) == 100.0


def test_effects_are_those_of_single_layers(pair, shapes):
    parent, child, trials = graphs(pair, shapes)
    effects = effects_of_quantizers(parent, child, trials)
    assert [cause.layer for cause in effects.causes] == ["scores", "seen"]
    worst, other = effects.causes
    assert worst.restored > 10 > abs(other.restored)
    assert worst.agreement < other.agreement
    assert least_repair(parent, child, trials, effects, 0.5, writes_integers=False)[0] == ("scores",)


def test_two_quantized_networks_are_not_taken_for_parent_and_child(pair, shapes):
    _, child, trials = graphs(pair, shapes)
    assert effects_of_quantizers(child, child, trials) is None


@pytest.mark.parametrize("wanted", [0.5, 0.99])
def test_the_least_repair_is_the_shortest_list_that_brings_enough_back(pair, shapes, wanted):
    parent, child, trials = graphs(pair, shapes, CLASSES[2])
    found = effects_of_quantizers(parent, child, trials)
    layers, won = least_repair(parent, child, trials, found, wanted, writes_integers=False)
    assert isinstance(found, Effects)
    assert won >= wanted * (found.parent - found.child)
    assert 1 <= len(layers) <= 2


def test_a_repair_names_nothing_that_a_correction_added(pair, shapes, monkeypatch):
    parent, child, trials = graphs(pair, shapes)
    effects = effects_of_quantizers(parent, child, trials)
    monkeypatch.setattr(QuantizedGraph, "writers", lambda *_: ("positive", "positive.centered"))
    layers, _ = least_repair(parent, child, trials, effects, 0.5, writes_integers=True)
    assert layers == ("scores", "positive")
