"""A manifest is part of its engine: no digit of it changes unseen."""

import json
import re

import numpy as np
import pytest
from small_network import CLASSES, content_sha256, write_dataset, write_small_network

import jetseg
from jetseg.engine.proof import check_proof, prove
from jetseg.errors import JetsegError, ManifestError
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest
from jetseg.manifest_file import manifest_path, read_manifest
from jetseg.output_spec import OutputSpec

FRAMES = {"low": 16.0, "high": 4095.0}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """An engine with figures, profile and proof, small enough to change every digit of its manifest."""
    folder = tmp_path_factory.mktemp("engine")
    data = write_dataset(folder / "data", frames=8)
    given = {"data": data, "split": "all", "eval_split": "all", "images": 8, "out": folder / "e.onnx"}
    open_gate = {"max_drop": 100, "max_class_drop": 100, "min_agreement": 0}
    return jetseg.build_engine(write_small_network(folder), **given, **open_gate).path


def one_digit_changes(text):
    for place in re.finditer(r"\d", text):
        for digit in set("0123456789") - {place[0]}:
            yield text[: place.start()] + digit + text[place.end() :]


@pytest.mark.long
@pytest.mark.parametrize("part", ["what it says", pytest.param("all of it", marks=pytest.mark.slow)])
def test_every_one_digit_change_of_a_manifest_is_refused(engine, tmp_path, part):
    """All of them, in every number and hash; what stays is a float that is the same in other digits."""
    whole, file, count = json.loads(manifest_path(engine).read_text()), tmp_path / "e.onnx.json", 0
    assert whole["proof"]
    assert whole["accuracy"]
    if part == "what it says":  # the hash covers all parts alike, of which most are figures
        whole |= {"profile": None, "accuracy": [], "toolchain": {"jetseg": "0.2.0"}, "stages": [], "device": None}
        whole["proof"]["input"] = whole["proof"]["input"][:4]
    del whole["content_sha256"]
    whole["content_sha256"] = content_sha256(whole)
    for changed in one_digit_changes(json.dumps(whole)):
        file.write_text(changed)
        try:
            read_manifest(file, engine)
        except ManifestError:
            count += 1
        else:
            assert json.loads(changed) == whole
    assert count > 1000


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mean", [9.5, 0.5, 0.5]),
        ("mean", [0.5, 0.5, 0.6]),
        ("std", [0.25, 0.26, 0.25]),
        ("scale", 0.0049),
        ("scale", -1 / 255),
        ("color", "bgr"),
        ("height", 48),
        ("width", 64),
        ("kind", "frame"),
    ],
)
def test_a_preprocessing_that_was_changed_is_refused_though_the_hash_is_right(engine, tmp_path, key, value):
    copy = tmp_path / engine.name
    copy.write_bytes(engine.read_bytes())
    content = json.loads(manifest_path(engine).read_text())
    del content["content_sha256"]
    content["input"][key] = value
    manifest_path(copy).write_text(json.dumps({**content, "content_sha256": content_sha256(content)}))
    with pytest.raises(ManifestError, match="frames become another input|but the manifest says|its input"):
        jetseg.open_engine(copy)


def test_every_one_digit_change_of_the_input_that_moves_a_value_is_refused_with_the_right_hash(engine, monkeypatch):
    """In `mean`, `std` and `scale`: what is accepted feeds the network the same numbers."""
    whole = json.loads(manifest_path(engine).read_text())
    del whole["content_sha256"]
    monkeypatch.setattr("jetseg.engine.proof._MAP_SIDE", 8)  # the scores are not at issue
    manifest = Manifest.model_validate(whole)
    whole["proof"] = prove(manifest)
    refused = accepted = 0
    for key in ("mean", "std", "scale"):
        for text in one_digit_changes(json.dumps(whole["input"][key])):
            try:
                changed = Manifest.model_validate({**whole, "input": {**whole["input"], key: json.loads(text)}})
                check_proof(changed, "engine")
            except (ValueError, JetsegError):
                refused += 1
            else:
                accepted += 1
                assert prove(changed).input == pytest.approx(prove(manifest).input, rel=1e-5, abs=1e-5)
    assert refused > 150
    assert accepted < 80


def described(output, **more):
    return Manifest(
        kind="engine",
        input=InputSpec(height=24, width=32, **more),
        outputs=(OutputSpec(classes=CLASSES[:2], **output),),
    )


@pytest.mark.parametrize(
    ("built", "now"),
    [
        (described({}), described({"layout": "nhwc"})),
        (described({"activation": "sigmoid"}), described({"activation": "sigmoid", "threshold": 0.51})),
        (described({"activation": "sigmoid"}), described({"activation": "none"})),
        (described({"activation": "none"}), described({"activation": "none", "threshold": 0.51})),
        (described({}), described({"kind": "classmap"})),
        (described({}, frames=FRAMES), described({}, frames={**FRAMES, "high": 4195})),
        (described({}, frames=FRAMES), described({}, frames={**FRAMES, "low": 26})),
        (described({}, frames=FRAMES), described({})),
        (
            described({}, color="gray", mean=(0.5,), std=(1.0,)),
            described({}, color="gray", mean=(0.6,), std=(1.0,)),
        ),
    ],
)
def test_scores_that_are_read_in_another_way_are_refused(built, now):
    proven = built.changed(proof=prove(built))
    check_proof(proven, "engine")
    with pytest.raises(ManifestError, match="than when it was built"):
        check_proof(now.changed(proof=proven.proof), "engine")


def test_one_class_beside_void_has_a_proof():
    manifest = Manifest(classes=("road",), input=InputSpec(height=24, width=32))
    assert sum(prove(manifest).class_pixels) == 192 * 256


def test_the_proof_is_the_same_everywhere_and_forever():
    """Figures of the first version: others would refuse every engine that was built before."""
    spec = InputSpec(height=24, width=32, scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.1))
    proof = prove(Manifest(classes=CLASSES, input=spec))
    assert np.allclose(proof.input[:3], (0.3843137, 2.7647059, 0.19607843))
    assert proof.class_pixels == (12278, 12400, 12202, 12272)
