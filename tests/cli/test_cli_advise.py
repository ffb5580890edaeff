"""`jetseg advise`: what it says and writes, on a network that really runs."""

import json
from pathlib import Path

import pytest
from small_network import write_dataset, write_small_network

from jetseg.advice import advising
from jetseg.advice.finding import Finding, Option
from jetseg.advice.plan import Plan
from jetseg.advice.probes.output_stride import OutputStride
from jetseg.engine.engine import open_engine


@pytest.fixture
def asked(tmp_path: Path) -> list[object]:
    network, data = write_small_network(tmp_path), write_dataset(tmp_path / "data", frames=6)
    splits = ("--split", "all", "--eval-split", "all")
    return ["advise", network, "--data", data, *splits, "--out", tmp_path / "advice.yaml", "--max-drop", 100]


@pytest.mark.long
def test_an_onnx_file_is_advised_on_and_the_recipe_runs(jetseg, asked, tmp_path):
    code, out, _ = jetseg(*asked, "--frames", 3, "--page", tmp_path / "advice.html", "--json")
    assert code == 0
    found = json.loads(out)
    for technique in found["techniques"]:
        assert {"name", "speedup", "expected_drop", "confidence"} <= technique.keys()
    assert "ONNX file" in found["impossible"]["pruning"]
    assert "no fp16" in found["impossible"]["fp16"]
    assert found["recommended"] == {key: found["ranked"][0][key] for key in found["recommended"]}
    assert found["recipe"] == str(tmp_path / "advice.yaml")
    page = (tmp_path / "advice.html").read_text()
    assert found["recommended"]["name"] in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    folder = tmp_path / "run"
    code, out, _ = jetseg("compress", "--recipe", found["recipe"], "--data", asked[3], "--out", folder, "--json")
    assert code == 0
    with open_engine(Path(json.loads(out)[-1]["file"]), threads=1) as engine:
        assert engine.manifest.precision == ("int8" if "int8" in found["recommended"]["techniques"] else "fp32")


def test_every_technique_has_its_line(jetseg, asked, monkeypatch):
    def refuse(probe, bench):
        raise ZeroDivisionError(probe.name)

    for kind in advising.PROBES:
        monkeypatch.setattr(kind, "applies", refuse)
    code, out, _ = jetseg(*asked, "--frames", 2)
    assert code == 0
    told = " ".join(out.split())
    for kind in advising.PROBES:
        assert f"ZeroDivisionError: {kind.name}" in told or kind.name in told
    assert "1. as it is, fp32: 1.00 times as fast" in told


def test_a_guess_from_the_literature_is_called_so_in_table_and_json(jetseg, asked, monkeypatch, tmp_path):
    class Guess:
        name, share = "distillation", 1.0

        def applies(self, bench):
            return ""

        def run(self, bench):
            return Finding(self.name, (Option(Plan(qat=True), 1.5, -0.75, 1.0, "measured", "prior", "a paper"),))

    monkeypatch.setattr(advising, "PROBES", (Guess,))
    monkeypatch.setattr(advising, "write_recipe", lambda bench, chain, out: False)
    code, out, _ = jetseg(*asked, "--frames", 2, "--json")
    assert code == 0
    (technique,) = json.loads(out)["techniques"]
    assert (technique["speedup_from"], technique["expected_drop_from"]) == ("measured", "prior")
    code, out, _ = jetseg(*asked, "--frames", 2, "--page", tmp_path / "page.html")
    assert code == 0
    assert "prior -0.75" in out
    assert "points of mIoU lost (prior)" in " ".join(out.split())
    assert "prior: a guess" in (tmp_path / "page.html").read_text()


def test_an_engine_and_a_strange_target_are_refused_at_once(jetseg, asked):
    engine = Path(asked[1]).with_name("small.int8.onnx")
    code, _, said = jetseg("build-engine", asked[1], "--precision", "fp32", "--out", engine)
    assert code == 0, said
    code, _, said = jetseg("advise", engine, *asked[2:])
    assert (code, "is an engine" in said) == (2, True)
    code, _, said = jetseg(*asked, "--target", "toaster")
    assert (code, "no target named toaster" in said) == (2, True)


def test_for_another_computer_latencies_are_predicted_with_an_interval(jetseg, asked, monkeypatch):
    monkeypatch.setattr(advising, "PROBES", (OutputStride,))
    code, out, _ = jetseg(*asked, "--frames", 2, "--target", "orin-nano-8gb", "--json")
    assert code == 0
    found = json.loads(out)
    as_it_is = found["recommended"]
    assert 0 < as_it_is["low"] < as_it_is["latency_ms"] < as_it_is["high"]
    assert found["float_ms"] == as_it_is["latency_ms"]
    assert "roughly" in found["conditions"]["speeds"]
    assert found["conditions"]["device"] == "orin-nano-8gb"
    assert (as_it_is["speedup_from"], as_it_is["confidence"]) == ("predicted", "medium")
    assert found["recipe"] is None  # a float ONNX file goes to the device as it is
    code, out, _ = jetseg(*asked, "--frames", 2, "--target", "orin-nano-8gb")
    assert code == 0
    assert "nothing to do" in out
