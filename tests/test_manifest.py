import json
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError
from small_network import content_sha256

from jetseg.config import validate_config
from jetseg.errors import ArtifactError, ConfigError, ManifestError
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest, Stage
from jetseg.manifest_file import manifest_path
from jetseg.measured import Accuracy
from jetseg.network import load_manifest, save_manifest
from jetseg.palette import default_palette
from jetseg.provenance import toolchain
from jetseg.storage import sha256_file
from jetseg.workflows.sealing import seal

LEAST = """
classes: [sky, building, pole]
ignore_index: 11
input: {height: 360, width: 480, color: bgr, mean: [110.331, 108.409, 105.033], std: [183.9, 185.4, 178.3]}
output: {kind: logits}
"""


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "net.engine"
    path.write_bytes(b"weights")
    return path


def test_a_manifest_by_hand_in_yaml_is_enough(artifact: Path):
    path = artifact.with_name("hand.yaml")
    path.write_text(LEAST)
    manifest = load_manifest(artifact, path)
    assert manifest.classes == ("sky", "building", "pole")
    assert (manifest.input.color, manifest.input.scale, manifest.output.kind) == ("bgr", 1.0, "logits")
    assert manifest.colors == default_palette(manifest.classes)


def test_what_was_saved_is_loaded_again(artifact: Path):
    manifest = Manifest(
        classes=("a", "b"),
        palette=((1, 2, 3), (4, 5, 6)),
        input=InputSpec(height=4, width=8, color="gray", mean=(0.5,), std=(0.25,)),
        stages=(Stage(name="train", settings={"lr": 0.1}),),
    )
    saved = save_manifest(artifact, manifest)
    assert saved.sha256 == sha256_file(artifact)
    assert saved.toolchain["jetseg"]
    assert saved.device
    assert load_manifest(artifact) == saved


def test_a_changed_artifact_is_refused(artifact: Path):
    save_manifest(artifact, Manifest(classes=("a",), input=InputSpec(height=4, width=8)))
    artifact.write_bytes(b"weight")
    with pytest.raises(ArtifactError, match="SHA-256 differs"):
        load_manifest(artifact)


def test_a_missing_artifact_and_a_missing_manifest_are_different_errors(artifact: Path):
    with pytest.raises(ManifestError, match="has no manifest"):
        load_manifest(artifact)
    with pytest.raises(ArtifactError, match="does not exist"):
        load_manifest(artifact.with_name("other.engine"))


def test_all_mistakes_are_named_with_their_keys(artifact: Path):
    content = {
        "classes": [],
        "colour": "red",
        "input": {"height": 0, "width": 8, "std": [1, 0, 1]},
        "output": {"kind": "masks"},
    }
    manifest_path(artifact).write_text(json.dumps(content))
    with pytest.raises(ManifestError) as caught:
        load_manifest(artifact)
    for key in ("classes", "colour", "input.height", "input.std.1", "output.kind"):
        assert f"  {key}: " in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": ["a", "a"]}, "a name twice"),
        ({"palette": [[0, 0, 0]]}, "one color for each of the 2 classes"),
        ({"input": {"height": 4, "width": 8, "color": "gray"}}, "1 numbers for color gray"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(change, words):
    content = {"classes": ["a", "b"], "input": {"height": 4, "width": 8}} | change
    with pytest.raises(ValidationError, match=words):
        Manifest.model_validate(content)


@pytest.mark.parametrize("content", [b"{classes: [a", b"\xff\xfe\x00", b"", b"- 1"])
def test_a_file_that_is_no_manifest_is_a_plain_error(artifact: Path, content: bytes):
    manifest_path(artifact).write_bytes(content)
    with pytest.raises(ManifestError, match=r"net\.engine\.json"):
        load_manifest(artifact)


def test_a_folder_in_place_of_the_manifest_is_a_plain_error(artifact: Path):
    manifest_path(artifact).mkdir()
    with pytest.raises(ManifestError):
        load_manifest(artifact)


def test_a_manifest_cannot_be_changed():
    manifest = Manifest(classes=("a",), input=InputSpec(height=4, width=8))
    with pytest.raises(ValidationError, match="frozen"):
        manifest.precision = "int8"


def test_config_mistakes_are_reported_together():
    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)
        epochs: int
        lr: float

    with pytest.raises(ConfigError) as caught:
        validate_config(Config, {"epochs": "many", "learning_rate": 1})
    assert all(f"  {key}: " in str(caught.value) for key in ("epochs", "lr", "learning_rate"))


def test_toolchain_leaves_out_what_is_not_installed():
    versions = toolchain(["numpy", "no-such-package"])
    assert set(versions) == {"jetseg", "python", "numpy"}


def test_format_1_becomes_format_2(artifact: Path):
    manifest_path(artifact).write_text(LEAST)
    manifest = load_manifest(artifact)
    assert (manifest.format, len(manifest.outputs)) == (2, 1)
    assert (manifest.output.task, manifest.output.kind) == ("segmentation", "logits")
    assert (manifest.classes, manifest.ignore_index) == (("sky", "building", "pole"), 11)
    save_manifest(artifact, manifest)
    written = json.loads(manifest_path(artifact).read_text())
    assert written["outputs"][0]["classes"] == ["sky", "building", "pole"]
    assert not {"classes", "palette", "ignore_index", "output"} & set(written)
    assert load_manifest(artifact).outputs == manifest.outputs


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 3}, "format"),
        ({"outputs": []}, "outputs"),
        ({"outputs": [{"classes": ["a"]}, {"classes": ["b"]}]}, "needs a name of its own"),
        ({"outputs": [{"classes": ["a"], "task": "boxes"}]}, "task"),
        ({"outputs": [{"classes": ["a"], "task": "depth"}]}, "a depth output has none"),
        ({"outputs": [{"classes": ["a"]}], "classes": ["a"]}, "classes"),
        ({"output": "logits"}, "must be a mapping"),
    ],
)
def test_formats_that_this_version_does_not_know_are_refused(artifact: Path, change, words):
    content = {"classes": ["a"], "input": {"height": 4, "width": 8}}
    if "outputs" in change and "classes" not in change:
        del content["classes"]
    manifest_path(artifact).write_text(json.dumps(content | change))
    with pytest.raises(ManifestError, match=words):
        load_manifest(artifact)


def test_a_manifest_that_was_changed_after_it_was_written_is_refused(artifact: Path):
    save_manifest(artifact, Manifest(classes=("a",), input=InputSpec(height=4, width=8)))
    path = manifest_path(artifact)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content, sort_keys=True))
    load_manifest(artifact)  # laid out in another way, it says the same
    content["input"]["height"] = 5
    path.write_text(json.dumps(content))
    with pytest.raises(ManifestError, match=r"SHA-256 of its content differs.*`jetseg seal .*net\.engine`"):
        load_manifest(artifact)
    assert seal(artifact).manifest.input.height == 5
    assert load_manifest(artifact).input.height == 5


@pytest.mark.parametrize("lacking", ["sha256", "content_sha256"])
@pytest.mark.parametrize("there", ["as null", "not at all"])
@pytest.mark.parametrize("claim", ["toolchain", "device", "stages", "accuracy", "parent_sha256", "kind"])
def test_a_manifest_that_tells_its_history_without_its_hashes_is_refused(artifact: Path, claim, there, lacking):
    """One claim is enough, whatever else was taken out; and the hash of the content alone proves no file."""
    accuracy = Accuracy(data="d", split="s", frames=1, miou=70.0, pixel_accuracy=None, per_class_iou={"a": 70.0})
    told = {"stages": (Stage(name="train"),), "accuracy": (accuracy,), "parent_sha256": "1" * 64, "kind": "engine"}
    saved = save_manifest(artifact, Manifest(classes=("a",), input=InputSpec(height=4, width=8)).changed(**told))
    least = {"input", "outputs", "sha256", claim}
    content = {key: value for key, value in json.loads(saved.model_dump_json()).items() if key in least}
    content["content_sha256"] = None
    if lacking == "sha256":
        content["sha256"] = None
        content["content_sha256"] = content_sha256({k: v for k, v in content.items() if k != "content_sha256"})
    if there == "not at all" and lacking == "content_sha256":
        del content["content_sha256"]
    manifest_path(artifact).write_text(json.dumps(content))
    with pytest.raises(ManifestError, match=rf"says how jetseg made net\.engine, but not its {lacking}:"):
        load_manifest(artifact)
    assert seal(artifact).manifest.sha256 == saved.sha256


def test_sealing_takes_no_other_file(artifact: Path):
    save_manifest(artifact, Manifest(classes=("a",), input=InputSpec(height=4, width=8)))
    artifact.write_bytes(b"other weights")
    with pytest.raises(ArtifactError, match="SHA-256 differs"):
        seal(artifact)
    artifact.unlink()
    with pytest.raises(ArtifactError, match="does not exist"):
        seal(artifact)


def test_an_input_of_more_pixels_than_memory_holds_is_refused(artifact: Path):
    manifest_path(artifact).write_text('{"classes": ["a"], "input": {"height": 1000000, "width": 1000000}}')
    with pytest.raises(ManifestError, match="more than 67108864 pixels"):
        load_manifest(artifact)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("place", ["scale", "mean", "std"])
def test_numbers_that_are_not_finite_are_refused(artifact: Path, place, number):
    value = number if place == "scale" else f"[0.5, {number}, 0.5]"
    text = f'{{"classes": ["a"], "input": {{"height": 4, "width": 8, "{place}": {value}}}}}'
    manifest_path(artifact).write_text(text)
    with pytest.raises(ManifestError, match=f"input.{place}"):
        load_manifest(artifact)


@pytest.mark.parametrize("scale", [0, 0.0, -0.0])
def test_a_scale_of_zero_is_refused(artifact: Path, scale):
    content = {"classes": ["a"], "input": {"height": 4, "width": 8, "scale": scale}}
    manifest_path(artifact).write_text(json.dumps(content))
    with pytest.raises(ManifestError, match="a scale of 0 makes all pixels alike"):
        load_manifest(artifact)


def test_what_a_stage_makes_keeps_no_figures_of_its_parent():
    accuracy = Accuracy(data="d", split="s", frames=1, miou=70.0, pixel_accuracy=None, per_class_iou={"a": 70.0})
    parent = Manifest(
        classes=("a",),
        input=InputSpec(height=4, width=8),
        sha256="1" * 64,
        accuracy=(accuracy,),
    )
    child = parent.derive(Stage(name="prune"), precision="fp16")
    assert (child.parent_sha256, child.sha256, child.accuracy) == ("1" * 64, None, ())
    assert (child.precision, child.stages[-1].name) == ("fp16", "prune")
    with pytest.raises(ValidationError):
        parent.changed(precision="int3")


@pytest.mark.parametrize("name", ["pole\n", "pole\nsign", "pole\r", "pole\u2028sign", "pole\x85"])
def test_the_name_of_a_class_is_one_line(name):
    with pytest.raises(ValidationError, match="the name of a class is one line"):
        Manifest(classes=("road", name), input={"height": 2, "width": 4})
