"""`jetseg explain`."""

import json
from pathlib import Path

import onnx
import pytest
from small_network import small_manifest, small_network, write_dataset, write_small_network

from jetseg.network import save_manifest


@pytest.fixture
def networks(tmp_path: Path) -> list[Path]:
    other = tmp_path / "other.onnx"
    onnx.save(small_network(1), str(other))
    save_manifest(other, small_manifest())
    return [write_small_network(tmp_path), other]


@pytest.mark.long
def test_explain_prints_one_json_object_and_the_same_sentences(jetseg, networks, tmp_path):
    parent, child = networks
    options = ("--data", write_dataset(tmp_path / "data", frames=10), "--split", "all")
    code, out, err = jetseg("explain", parent, child, *options, "--json")
    assert code == 0, err
    result = json.loads(out)
    for name in ("summary", "findings", "classes", "sizes", "boundaries", "children", "conditions"):
        assert result[name], name
    assert {row["class"] for row in result["classes"]} == {"road", "car", "sky"}
    row = result["classes"][0]
    assert row["loss"] == pytest.approx(row["before"] - row["after"], abs=0.002)
    assert row["interval"][0] <= row["interval"][1]
    finding = result["findings"][0]
    assert {"kind", "class", "layer", "channels", "loss", "interval", "repair", "sentence"} <= set(finding)
    assert [entry["sentence"] for entry in result["findings"]] == result["summary"]
    code, out, _ = jetseg("explain", parent, child, *options, "--out", tmp_path / "page.html")
    assert code == 0
    assert all(sentence in out for sentence in result["summary"])
    assert (tmp_path / "page.html").is_file()


def test_several_children_are_told_apart(jetseg, networks, tmp_path):
    parent, child = networks
    options = ("--data", write_dataset(tmp_path / "data", frames=10), "--split", "all", "--no-causes", "--json")
    code, out, err = jetseg("explain", parent, child, parent, *options)
    assert code == 0, err
    result = json.loads(out)
    names = [entry["name"] for entry in result["children"]]
    assert len(set(names)) == 2
    assert result["summary"][-1].startswith(f"{names[1]}: No loss was found beyond chance")


def test_labels_are_needed_and_classes_must_match(jetseg, networks, tmp_path):
    code, _, err = jetseg("explain", *networks, "--data", "synthetic:2", "--split", "val")
    assert code == 2
    assert "classes" in err
