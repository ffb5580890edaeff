"""The public names: few, documented, imported when they are used; the program of the front page, from the wheel."""

import inspect
import json
import subprocess
import sys

import cv2
import numpy as np
import onnx
import pytest
from installed import ROOT, install, python
from onnx import TensorProto, helper, numpy_helper

import jetseg
from jetseg.data.camvid import CLASSES
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest
from jetseg.network import save_manifest
from jetseg.output_spec import OutputSpec

PROGRAM = """
import jetseg

net    = jetseg.open_network("student.onnx")                 # or manifest="student.yaml"
ranges = jetseg.calibrate(net, data="camvid:data/camvid", images=64)
built  = jetseg.build_engine(net, ranges=ranges, data="camvid:data/camvid", max_drop=0.5)
with jetseg.open_engine(built.path) as engine:
    class_map = engine.segment(frame_bgr)                    # uint8, H x W
    print(jetseg.evaluate(engine, data="camvid:data/camvid", split="test").miou)
"""
BEFORE = "import numpy as np; frame_bgr = np.zeros((48, 64, 3), np.uint8)\n"
AFTER = "\nassert class_map.shape == (24, 32) and class_map.dtype == np.uint8\nprint(jetseg.__file__)\n"


def write_student(folder):
    """A network of two convolutions for CamVid's classes."""
    rng = np.random.default_rng(0)
    weights = {"w1": rng.normal(0, 0.3, (8, 3, 3, 3)), "w2": rng.normal(0, 0.5, (11, 8, 1, 1))}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "w1"], ["c1"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c1"], ["r1"]),
            helper.make_node("Conv", ["r1", "w2"], ["logits"]),
        ],
        "student",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 24, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 11, 24, 32])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    path = folder / "student.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    spec = InputSpec(height=24, width=32, mean=(128, 128, 128), std=(64, 64, 64))
    save_manifest(path, Manifest(input=spec, outputs=(OutputSpec(classes=CLASSES, ignore_index=11),)))


def write_camvid(folder, frames=70):
    """Frames and labels of noise in CamVid's layout."""
    rng = np.random.default_rng(1)
    for split in ("train", "val", "test"):
        for kind in (split, f"{split}annot"):
            (folder / kind).mkdir(parents=True)
        for index in range(frames if split == "train" else 6):
            image = rng.integers(0, 256, (24, 32, 3), np.uint8)
            cv2.imwrite(str(folder / split / f"{index:03}.png"), image)
            cv2.imwrite(str(folder / f"{split}annot" / f"{index:03}.png"), rng.integers(0, 12, (24, 32), np.uint8))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return install(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.mark.long
def test_the_program_of_the_front_page_runs_from_the_wheel(wheel, tmp_path):
    write_student(tmp_path)
    write_camvid(tmp_path / "data" / "camvid")
    (tmp_path / "program.py").write_text(BEFORE + PROGRAM + AFTER)
    done = python(["program.py"], tmp_path, wheel)
    assert done.returncode == 0, done.stderr
    miou, place = done.stdout.split()
    assert 0 < float(miou) < 20
    assert place.startswith(str(wheel))
    engine = json.loads((tmp_path / "engines" / "student.int8.onnx.json").read_text())
    assert (engine["precision"], engine["accuracy"][0]["frames"]) == ("int8", 6)
    assert done.stderr == "", "a library neither prints nor draws"


@pytest.mark.long
def test_the_wheel_brings_the_networks(wheel, tmp_path):
    code = "import jetseg; print(jetseg.open_network('camvid-light').path)"
    done = python(["-c", code], tmp_path, wheel)
    assert done.stdout.startswith(str(wheel)), done.stderr


@pytest.mark.long
def test_the_wheel_says_to_install_an_extra_from_itself(wheel, tmp_path):
    done = python(["-c", "from jetseg.installation import install_hint as hint; print(hint('cpu'))"], tmp_path, wheel)
    (file,) = (wheel.parent / "wheels").iterdir()
    assert done.stdout == f"Install it with: pip install '{file}[cpu]'.\n", done.stderr


def test_importing_jetseg_imports_nothing_else():
    heavy = ("numpy", "onnx", "cv2", "torch", "pydantic", "onnxruntime", "typer")
    code = f"import sys, jetseg; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_the_public_names_are_few_and_documented():
    assert len(jetseg.__all__) <= 24
    assert set(jetseg.__all__) <= set(dir(jetseg))
    for name in jetseg.__all__:
        part = getattr(jetseg, name)
        assert inspect.getdoc(part), name
        if inspect.isfunction(part):
            text = inspect.getdoc(part)
            assert "Raises:" in text or name == "list_registered", name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = jetseg.nonsense
