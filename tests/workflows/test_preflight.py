"""What can be checked first is checked first: no step of long work is begun, and nothing is written."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from small_network import CLASSES, edit_manifest, write_dataset, write_small_network

import jetseg
from jetseg.errors import ConfigError, DataError, JetsegError, MissingDependencyError, StorageError
from jetseg.evaluation.accuracy import check_frames
from jetseg.input_spec import InputSpec
from jetseg.installation import install_hint
from jetseg.manifest import Manifest, ModelSpec
from jetseg.manifest_file import manifest_path
from jetseg.models import create_model
from jetseg.progress import report_progress
from jetseg.recipes.recipe import load_recipe
from jetseg.recipes.run import run_recipe
from jetseg.storage import check_place
from jetseg.training.checkpoint import save_checkpoint
from jetseg.training.state import Progress, check_processes
from jetseg.workflows.comparing import write_report

SPLITS = "splits: {val: ['001', '003']}\n"


@pytest.fixture
def data(tmp_path: Path) -> str:
    return split_up(write_dataset(tmp_path / "data"))


@pytest.fixture
def other(tmp_path: Path) -> str:
    """The same frames, labelled with other classes."""
    spec = split_up(write_dataset(tmp_path / "other"))
    return edit(spec, "sky", "grass")


@pytest.fixture
def unlabelled(tmp_path: Path) -> str:
    spec = split_up(write_dataset(tmp_path / "bare"))
    labels = Path(spec.partition(":")[2]) / "labels"
    labels.rename(labels.with_name("put-away"))
    return spec


@pytest.fixture
def void(tmp_path: Path) -> str:
    """Its validation split has labels, and all of their pixels are ignored, as in Cityscapes' test split."""
    spec = split_up(write_dataset(tmp_path / "void"))
    for name in ("001", "003"):
        path = Path(spec.partition(":")[2]) / "labels" / f"{name}.png"
        cv2.imwrite(str(path), np.full_like(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), 255))
    return spec


def split_up(spec: str) -> str:
    return edit(spec, "ignore_index", f"{SPLITS}ignore_index")


def edit(spec: str, old: str, new: str) -> str:
    path = Path(spec.partition(":")[2]) / "classes.yaml"
    path.write_text(path.read_text().replace(old, new))
    return spec


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return write_small_network(tmp_path)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    manifest = Manifest(
        kind="checkpoint",
        classes=CLASSES,
        ignore_index=255,
        input=InputSpec(height=24, width=32),
        model=ModelSpec(factory="tiny", options={"width": 8}),
    )
    save_checkpoint(path, create_model("tiny", len(CLASSES), width=8), manifest)
    return path


@pytest.fixture
def refused(tmp_path: Path):
    """Runs something that must be refused; tells the message, and fails if work was begun or a file written."""

    def run(error: type[JetsegError], call) -> str:
        begun: set[str] = set()
        before = {path for path in tmp_path.rglob("*") if path.is_file()}
        with report_progress(lambda task: begun.add(task.description)), pytest.raises(error) as caught:
            call()
        assert begun == set()
        assert {path for path in tmp_path.rglob("*") if path.is_file()} == before
        return str(caught.value)

    return run


VERBS = {
    "build-engine": lambda at, data: jetseg.build_engine(
        at["network"], data=data, split="train", out=at["out"] / "e.onnx"
    ),
    "the fastest": lambda at, data: jetseg.build_engine(
        at["network"], data=data, split="train", precision="auto", out=at["out"] / "e.onnx"
    ),
    "eval": lambda at, data: jetseg.evaluate(at["network"], data=data),
    "fine-tuning": lambda at, data: jetseg.train(data=data, init=at["checkpoint"], out=at["out"] / "run"),
    "prune": lambda at, data: jetseg.prune(
        at["checkpoint"], data=data, criterion="taylor", out=at["out"] / "p.safetensors"
    ),
    "prune and fine-tune": lambda at, data: jetseg.prune(
        at["checkpoint"], data=data, criterion="magnitude", epochs=1, out=at["out"] / "p.safetensors"
    ),
    "factorize and fine-tune": lambda at, data: jetseg.factorize(
        at["checkpoint"], data=data, size_only=True, epochs=1, out=at["out"] / "f.safetensors"
    ),
    "qat": lambda at, data: jetseg.quantization_aware_train(at["checkpoint"], data=data, out=at["out"] / "q.onnx"),
    "qat with a teacher": lambda at, data: jetseg.quantization_aware_train(
        at["network"], data=data, out=at["out"] / "q.onnx"
    ),
    "report": lambda at, data: write_report([at["network"]], data=data, out=at["out"] / "page.html"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_other_classes_are_said_before_anything_long(verb, network, checkpoint, other, tmp_path, refused):
    at = {"network": network, "checkpoint": checkpoint, "out": tmp_path}
    message = refused(DataError, lambda: VERBS[verb](at, other))
    assert "The network's classes are road, car, sky; those of folder:" in message
    assert "are road, car, grass" in message


@pytest.mark.parametrize("verb", [name for name in VERBS if "engine" not in name and name != "the fastest"])
def test_missing_labels_are_said_before_anything_long(verb, network, checkpoint, unlabelled, tmp_path, refused):
    at = {"network": network, "checkpoint": checkpoint, "out": tmp_path}
    assert "has no label" in refused(DataError, lambda: VERBS[verb](at, unlabelled))


@pytest.mark.parametrize("verb", ["eval", "fine-tuning", "prune and fine-tune", "qat", "report"])
def test_labels_that_are_all_ignored_are_none(verb, network, checkpoint, void, tmp_path, refused):
    at = {"network": network, "checkpoint": checkpoint, "out": tmp_path}
    message = refused(DataError, lambda: VERBS[verb](at, void))
    assert "(val) has no labelled pixel" in message
    assert "all have the ignored id 255" in message


@pytest.mark.parametrize("verb", [name for name in VERBS if name != "eval"])
def test_a_place_that_takes_no_files_is_said_before_anything_long(verb, network, checkpoint, data, tmp_path, refused):
    (tmp_path / "file").write_text("")
    at = {"network": network, "checkpoint": checkpoint, "out": tmp_path / "file"}
    assert "could not be written: Not a directory" in refused(StorageError, lambda: VERBS[verb](at, data))


def test_calibration_and_reports_look_at_their_place_and_library(network, data, tmp_path, refused, monkeypatch):
    (tmp_path / "folder.json").mkdir()
    out = tmp_path / "folder.json"
    calibration = lambda: jetseg.calibrate(network, data=data, split="train", out=out)  # noqa: E731
    assert "is a folder" in refused(ConfigError, calibration)
    for name in [name for name in sys.modules if name.startswith("jetseg.report")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    building = lambda: jetseg.build_engine(  # noqa: E731
        network, data=data, split="train", out=tmp_path / "e.onnx", report=tmp_path / "page.html"
    )
    assert install_hint("report") in refused(MissingDependencyError, building)


def test_teachers_and_earlier_runs_are_looked_at_first(network, checkpoint, data, tmp_path, refused):
    teacher = tmp_path / "teacher.onnx"
    teacher.write_bytes(network.read_bytes())
    manifest_path(teacher).write_text(manifest_path(network).read_text())
    edit_manifest(teacher, lambda content: content["outputs"][0].update(classes=["road", "car", "grass"]))
    pruning = {"data": data, "criterion": "magnitude", "epochs": 1, "out": tmp_path / "p.safetensors"}
    for call in (
        lambda: jetseg.prune(checkpoint, teacher=teacher, **pruning),
        lambda: jetseg.train(data=data, model="tiny", teacher=teacher, out=tmp_path / "run"),
        lambda: jetseg.quantization_aware_train(network, data=data, teacher=teacher, out=tmp_path / "q.onnx"),
    ):
        assert "The teacher's classes are road, car, grass" in refused(ConfigError, call)
    quick = {"training": {"accelerator": "cpu"}, "batch_size": 2}
    torch.manual_seed(0)
    assert jetseg.prune(checkpoint, ratio=0.3, round_to=1, **quick, **pruning).miou is not None
    again = lambda: jetseg.prune(checkpoint, ratio=0.3, round_to=1, lr=0.01, **quick, **pruning)  # noqa: E731
    assert "lr: 0.0005 then, 0.01 now" in refused(ConfigError, again)


def test_a_recipe_is_refused_whose_later_stage_has_other_classes(data, other, unlabelled, tmp_path, refused):
    def run(*stages):
        (tmp_path / "r.yaml").write_text(yaml.safe_dump({"description": "for a test", "stages": list(stages)}))
        run_recipe(load_recipe(str(tmp_path / "r.yaml")), data, tmp_path / "runs")

    (tmp_path / "r.yaml").touch()
    train, export = {"stage": "train", "model": "tiny"}, {"stage": "export"}
    message = refused(DataError, lambda: run(train, export, {"stage": "build-engine", "data": other}))
    assert message.startswith("Stage build-engine: The network's classes are road, car, sky")
    message = refused(DataError, lambda: run(train, export, {"stage": "qat", "data": unlabelled}))
    assert message.startswith("Stage qat: ")
    backend = {"stage": "build-engine", "backend": "tensorrt_rtx", "precision": "fp32", "options": {"no_such": 1}}
    assert "no_such" in refused(ConfigError, lambda: run(train, export, backend))


def test_only_what_is_needed_is_decoded(data):
    class Counted:
        spec, split, classes, ignore_index = "toy", "val", CLASSES, 255

        def __init__(self, labels):
            self.labels, self.seen = labels, []

        def __len__(self):
            return len(self.labels)

        def __getitem__(self, index):
            self.seen.append(index)
            label = None if self.labels[index] is None else np.full((2, 2), self.labels[index], np.uint8)
            return jetseg.data.contract.Sample(str(index), np.zeros((2, 2, 3), np.uint8), label)

    first = Counted([0] * 50)
    assert check_frames(CLASSES, first)
    assert set(first.seen) == {0}
    assert check_frames(CLASSES, Counted([255, 255, 1]))
    assert not check_frames(CLASSES, Counted([255, 255]), labels="optional")
    assert not check_frames(("x",), Counted([None]), labels="optional")
    with pytest.raises(DataError, match=r"toy \(val\) has no frames"):
        check_frames(CLASSES, Counted([]))
    with pytest.raises(DataError, match="no labelled pixel"):
        check_frames(CLASSES, Counted([255, 0, 255, 0]), frames=2)


def test_a_place_is_tried_without_leaving_anything(tmp_path):
    check_place(tmp_path / "new" / "folder" / "file.onnx")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StorageError, match="/proc/nothing/file"):
        check_place(Path("/proc/nothing/file"))


def test_another_number_of_processes_is_refused_with_both():
    progress = Progress({}, epochs_done=3, processes=4)
    check_processes(Path("run"), progress, 4, 8)
    check_processes(Path("run"), Progress({}), 4, 8)
    with pytest.raises(ConfigError, match=r"4 processes, 32 crops per step; now there is 1 process, which makes 8"):
        check_processes(Path("run"), progress, 1, 8)
