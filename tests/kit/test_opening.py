"""What a kit says of itself leads nowhere else."""

import json

import cv2
import numpy as np
import pytest
from small_kit import read_kit, rewrite_kit
from small_network import content_sha256, write_dataset

from jetseg.errors import ArtifactError, ConfigError, JetsegError
from jetseg.kit.opening import open_kit
from jetseg.workflows.kits import verify


def test_a_root_outside_of_the_kit(small_kit, tmp_path):
    """Frames are those of the kit's own index: classes.yaml is for people who unpack it."""
    write_dataset(tmp_path / "elsewhere", frames=2, seed=9)
    settings = json.dumps({"classes": ["road", "car", "sky"], "root": str(tmp_path / "elsewhere")})
    kit = rewrite_kit(small_kit, tmp_path / "k.kit.zip", {"frames/classes.yaml": settings.encode()})
    own = cv2.imdecode(np.frombuffer(read_kit(kit)["frames/images/000.png"], np.uint8), cv2.IMREAD_COLOR)
    with open_kit(kit) as opened:
        frames = opened.frames()
        assert len(frames) == 2
        assert np.array_equal(frames[0].image_hwc_u8, own)
        assert all(pair.label.is_relative_to(opened.folder) for pair in frames.pairs)
    assert verify(kit, precision="fp32", out=tmp_path / "e.onnx").comparison.agreement == 100


def test_a_class_list_beside_the_frames_does_not_decide(small_kit, tmp_path):
    settings = b"classes: [sky, car, road]\nlabel_values: {0: 2, 1: 1, 2: 0}\nignore_index: 1\n"
    kit = rewrite_kit(small_kit, tmp_path / "k.kit.zip", {"frames/classes.yaml": settings})
    with open_kit(small_kit) as one, open_kit(kit) as two:
        assert np.array_equal(one.frames()[0].label_hw_u8, two.frames()[0].label_hw_u8)
        assert two.frames().classes == ("road", "car", "sky")


@pytest.mark.parametrize(
    "change",
    [{"kind": "checkpoint", "model": {"factory": "torch.hub:load"}}, {"kind": "engine"}, {"precision": "int8"}],
)
def test_a_network_that_no_kit_holds(small_kit, tmp_path, change):
    manifest = json.loads(read_kit(small_kit)["network.onnx.json"])
    del manifest["content_sha256"]
    manifest |= change
    manifest["content_sha256"] = content_sha256(manifest)
    files = {"network.onnx.json": json.dumps(manifest).encode()}
    kit = rewrite_kit(small_kit, tmp_path / "k.kit.zip", files)
    with pytest.raises(ConfigError, match="is no float ONNX file"):
        verify(kit, out=tmp_path / "e.onnx")


@pytest.mark.parametrize(
    "names", [{"ranges": "network.onnx"}, {"ranges": "network.onnx.json"}, {"model": "frames/images/000.png"}]
)
def test_an_index_that_names_another_file_for_it(small_kit, tmp_path, names):
    files = {"frames/images/000.png.json": read_kit(small_kit)["network.onnx.json"]} if "model" in names else {}
    kit = rewrite_kit(small_kit, tmp_path / "k.kit.zip", files, lambda index: index.update(names))
    with pytest.raises(JetsegError) as caught:
        verify(kit, out=tmp_path / "e.onnx")
    assert caught.value.exit_code == 2


def test_a_corrected_network_outside_of_the_kit(small_kit, tmp_path):
    ranges = json.loads(read_kit(small_kit)["network.ranges.json"])
    ranges["networks"] = {"onnxruntime": {"file": "../../elsewhere.onnx", "sha256": "0" * 64}}
    files = {"network.ranges.json": json.dumps(ranges).encode()}
    kit = rewrite_kit(small_kit, tmp_path / "k.kit.zip", files)
    with pytest.raises(JetsegError, match="outside its own folder"):
        verify(kit, out=tmp_path / "e.onnx")


def test_a_nested_kit(small_kit, tmp_path):
    kit = rewrite_kit(small_kit, tmp_path / "k.kit.zip", {"network.onnx": small_kit.read_bytes()})
    with pytest.raises(ArtifactError):
        verify(kit, out=tmp_path / "e.onnx")
