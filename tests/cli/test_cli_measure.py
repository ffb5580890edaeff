"""`jetseg eval`, `jetseg bench` and `jetseg report`."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from small_network import edit_manifest, write_dataset, write_small_network

from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest, ModelSpec
from jetseg.manifest_file import manifest_path
from jetseg.models import create_model
from jetseg.network import open_network
from jetseg.training.checkpoint import save_checkpoint
from jetseg.workflows.peak_memory import measure_peak_memory


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return write_small_network(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> str:
    return write_dataset(tmp_path / "data", frames=4)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    module = create_model("tiny", 3, width=8).eval()
    manifest = Manifest(
        classes=("road", "car", "sky"),
        ignore_index=255,
        input=InputSpec(height=24, width=32, scale=1 / 255),
        model=ModelSpec(factory="tiny", options={"width": 8}),
    )
    save_checkpoint(tmp_path / "tiny.safetensors", module, manifest)
    return tmp_path / "tiny.safetensors"


def test_eval_prints_one_json_object(jetseg, network, data):
    code, out, _ = jetseg("eval", network, "--data", data, "--split", "all", "--json")
    result = json.loads(out)
    assert code == 0
    assert list(result["per_class_iou"]) == ["road", "car", "sky"]
    assert result["miou"] == pytest.approx(sum(result["per_class_iou"].values()) / 3, abs=0.01)
    assert (result["artifact"], result["data"], result["split"]) == (str(network), data, "all")
    assert (result["frames"], result["backend"], result["precision"]) == (4, "onnxruntime", "fp32")
    assert result["device"]
    assert all(round(value, 2) == value for value in (result["miou"], *result["per_class_iou"].values()))


def test_eval_prints_a_table_with_the_same_figures(jetseg, network, data):
    _, out, _ = jetseg("eval", network, "--data", data, "--split", "all", "--json")
    result = json.loads(out)
    code, out, err = jetseg("eval", network, "--data", data, "--split", "all")
    assert code == 0
    for name, iou in (*result["per_class_iou"].items(), ("mean", result["miou"])):
        assert any(name in line and f"{iou:.2f}" in line for line in out.splitlines())
    assert result["mean_dice"] == pytest.approx(
        np.mean([200 * iou / (100 + iou) for iou in result["per_class_iou"].values()]), abs=0.01
    )
    assert f"{result['mean_dice']:.2f}" in out
    assert "small.onnx on folder, split all, 4 frames" in out
    assert "Evaluating" in err


def test_eval_counts_pixels_that_agree_with_a_reference(jetseg, network, data, tmp_path):
    code, out, _ = jetseg("eval", network, "--data", data, "--split", "all", "--json", "--reference", network)
    assert (code, json.loads(out)["agreement"]) == (0, 100.0)
    ranges = tmp_path / "r.json"
    assert jetseg("calibrate", network, "--data", data, "--split", "all", "--preset", "fast", "--out", ranges)[0] == 0
    simulated = ("eval", network, "--data", data, "--split", "all", "--simulate", "tensorrt", "--calibration", ranges)
    code, out, _ = jetseg(*simulated, "--json")
    assert (code, json.loads(out)["reference"]) == (0, str(network))
    agreement = json.loads(out)["agreement"]
    assert 80 < agreement < 100
    code, out, _ = jetseg(*simulated)
    assert code == 0
    assert f"{agreement:.3f} % of the pixels" in out


def test_eval_of_frames_without_labels_counts_agreement_alone(jetseg, network, tmp_path):
    video = tmp_path / "drive.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (48, 32))
    for number in range(10):
        writer.write(np.full((32, 48, 3), 20 * number, dtype=np.uint8))
    writer.release()
    arguments = ("eval", network, "--data", f"video:{video}", "--frames", 2)
    code, out, _ = jetseg(*arguments, "--json", "--reference", network)
    assert (code, json.loads(out)["agreement"]) == (0, 100.0)
    assert "miou" not in json.loads(out)
    code, out, _ = jetseg(*arguments, "--reference", network)
    assert (code, "100.000 % of the pixels" in out, "IoU" in out) == (0, True, False)
    code, _, err = jetseg(*arguments)
    assert (code, "no label to score against. Without labels" in " ".join(err.split())) == (2, True)


def test_eval_refuses_a_reference_with_other_classes(jetseg, network, data, checkpoint, tmp_path):
    edit_manifest(checkpoint, lambda content: content["outputs"][0].update(classes=["road", "cart", "sky"]))
    code, _, err = jetseg("eval", network, "--data", data, "--split", "all", "--reference", checkpoint)
    assert code == 2
    assert "road, cart, sky" in err


def test_eval_of_a_checkpoint_and_of_fewer_frames(jetseg, checkpoint, data):
    code, out, _ = jetseg("eval", checkpoint, "--data", data, "--split", "all", "--frames", 2, "--json")
    assert (code, json.loads(out)["backend"], json.loads(out)["frames"]) == (0, "torch", 2)


@pytest.mark.long
@pytest.mark.parametrize(
    ("split", "miou", "pixels"),
    [("test", 57.51, 82.83), pytest.param("val", 70.10, 92.68, marks=pytest.mark.slow)],
)
def test_eval_of_a_foreign_network_gives_its_known_accuracy(jetseg, shared_dir, espnet, split, miou, pixels):
    network, manifest = espnet
    options = ("--data", f"camvid:{shared_dir / 'data' / 'camvid'}", "--split", split, "--json")
    code, out, _ = jetseg("eval", network, "--manifest", manifest, *options)
    assert code == 0
    assert json.loads(out)["miou"] == pytest.approx(miou, abs=0.1)
    assert json.loads(out)["pixel_accuracy"] == pytest.approx(pixels, abs=0.1)


@pytest.mark.long
def test_bench_compares_a_checkpoint_with_an_onnx_file(jetseg, checkpoint, network):
    before = torch.get_num_threads()
    code, out, _ = jetseg("bench", checkpoint, network, "--rounds", 2, "--seconds", 0.02, "--json")
    torch.set_num_threads(before)
    first, second = json.loads(out)["networks"]
    assert code == 0
    assert (first["name"], first["backend"], second["backend"]) == ("tiny", "torch", "onnxruntime")
    assert first["latency"]["speed_ratio"] == 1.0
    assert second["latency"]["p50_ms"] <= second["latency"]["p95_ms"] <= second["latency"]["p99_ms"]
    # conv 216 + norm 16 + conv 576 + 8, depthwise 144, head 48 + 3
    assert second["parameters"] == 216 + 16 + 576 + 8 + 144 + 48 + 3
    assert second["macs"] == 12 * 16 * (216 + 576 + 144 + 48)
    assert first["size_bytes"] == checkpoint.stat().st_size
    # a process with torch in it is far larger than one with ONNX Runtime alone
    assert first["peak_memory_bytes"] > second["peak_memory_bytes"] > 20e6
    assert json.loads(out)["threads"] == 1


@pytest.mark.long
def test_bench_prints_a_table_with_device_and_conditions(jetseg, network):
    code, out, err = jetseg("bench", network, network, "--rounds", 1, "--seconds", 0.01)
    assert code == 0
    assert "small (2)" in out
    assert "peak memory" in out
    assert "1 thread(s), 1 rounds of 0.01 s, alternated" in out
    assert "Timing" in err


def test_peak_memory_is_not_that_of_this_process(network):
    ballast = bytearray(500_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    assert measure_peak_memory(open_network(network), 1) < 400e6


def test_report_writes_the_page_and_prints_the_same_numbers(jetseg, network, data, tmp_path):
    options = ("--data", data, "--split", "all", "--rounds", 1, "--seconds", 0.01)
    code, out, _ = jetseg("report", network, "--out", tmp_path / "r.html", *options, "--json")
    result = json.loads(out)
    assert code == 0
    assert result["path"] == str(tmp_path / "r.html")
    assert f"{result['rows'][0]['miou']:.2f}" in (tmp_path / "r.html").read_text()
    assert (result["conditions"]["frames"], result["conditions"]["split"]) == (4, "all")
    code, out, _ = jetseg("report", network, "--out", tmp_path / "r.html", *options)
    assert code == 0
    assert f"{result['rows'][0]['miou']:.2f}" in out
    assert "r.html" in out


@pytest.mark.long
def test_a_manifest_is_for_the_files_that_have_none(jetseg, network, data, tmp_path):
    bare = tmp_path / "bare.onnx"
    bare.write_bytes(network.read_bytes())
    options = ("--rounds", 1, "--seconds", 0.01, "--json")
    code, _, err = jetseg("bench", network, bare, *options)
    assert code == 2
    assert "bare.onnx has no manifest" in err
    hand = tmp_path / "hand.json"
    hand.write_text(json.dumps({"classes": ["a", "b", "c"], "input": {"height": 24, "width": 32}}))
    code, out, _ = jetseg("bench", network, bare, "--manifest", hand, *options)
    assert code == 0
    assert len(json.loads(out)["networks"]) == 2
    assert manifest_path(network).is_file()


@pytest.mark.long
def test_report_measures_a_checkpoint_as_it_would_be_deployed(jetseg, tmp_path):
    checkpoint = tmp_path / "net.safetensors"
    small = ["--model", "tiny", "--set", "model_options.width=8", "--set", "height=64", "--set", "width=64"]
    code, _, err = jetseg("train", "--data", "synthetic:4", "--out", tmp_path / "run", *small, "--epochs", "1")
    assert code == 0, err
    (tmp_path / "run" / "best.safetensors").rename(checkpoint)
    (tmp_path / "run" / "best.safetensors.json").rename(f"{checkpoint}.json")
    options = ["--data", "synthetic:4", "--frames", "2", "--rounds", "2", "--seconds", "0.02", "--json"]
    code, out, err = jetseg("report", checkpoint, "--out", tmp_path / "r.html", *options)
    assert code == 0, err
    (row,) = json.loads(out)["rows"]
    assert (row["backend"], row["stage"], row["path"]) == ("onnxruntime", "train", str(checkpoint))
    assert row["size_bytes"] == checkpoint.stat().st_size
