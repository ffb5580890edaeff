"""pycuda itself, compiled for the headers of two CUDA versions, over a driver of our own; TensorRT alone is a double."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import real_pycuda
from small_network import write_dataset, write_small_network

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
PROCESS = Path(__file__).with_name("pycuda_process.py")
FREES = ("cuMemFree_v2", "cuMemFreeHost", "cuStreamDestroy_v2", "cuDevicePrimaryCtxRelease_v2")
TIDIES = (*FREES, "cuCtxPushCurrent_v2", "cuCtxPopCurrent_v2", "cuStreamSynchronize")
WIDE = ("--max-drop", 100, "--max-class-drop", 100, "--min-agreement", 0)


@pytest.fixture(scope="module", params=["12.6", "13"])
def jetseg(request):
    """Gives a function that runs commands of jetseg in one process, each with one call of the driver failing."""
    folder = real_pycuda.build(request.param)

    def run(*steps):
        asked = json.dumps([[failing, [str(word) for word in words]] for failing, words in steps])
        done = subprocess.run(
            [sys.executable, str(PROCESS)],
            input=asked,
            env=real_pycuda.environment(folder),
            capture_output=True,
            text=True,
            check=False,
        )
        told = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(told) == len(steps), done.stderr
        assert all(one["misuses"] == [0, ""] for one in told)
        return told

    return run


def build(folder, memory, frames):
    """Returns the words that build an engine, and its data."""
    data, out = write_dataset(folder / "data", frames=frames), folder / "small.engine"
    words = ["build-engine", write_small_network(folder), "--precision", "int8", "--force", "--data", data]
    words += ["--split", "all", "--eval-split", "all", "--images", 4, "--preset", "fast", *WIDE]
    return [*words, "--backend", "tensorrt", "--option", f"memory={memory}", "--out", out], data, out


@pytest.mark.parametrize("memory", ["copied", "mapped"])
def test_a_hundred_frames_are_segmented_and_nothing_is_left(jetseg, tmp_path, memory):
    words, data, out = build(tmp_path, memory, frames=100)
    kit, ranges = tmp_path / "n.kit.zip", tmp_path / "ranges.json"
    on_data = ("--data", data, "--split", "all")
    told = jetseg(
        (0, words),
        (0, ["run", out, "--source", data, "--split", "all", "--json"]),
        (0, ["calibrate", tmp_path / "small.onnx", *on_data, "--out", ranges]),
        (0, ["pack", tmp_path / "small.onnx", *on_data, "--calibration", ranges, *WIDE, "--out", kit]),
        (0, ["verify", kit, "--backend", "tensorrt", "--out", tmp_path / "verified.engine"]),
        (0, ["bench", tmp_path / "small.onnx", out, "--rounds", 3]),
    )
    for one in told:
        assert (one["code"], one["live"]) == (0, [0, 0, 0]), one["errors"]
    summary = json.loads(told[1]["printed"][told[1]["printed"].index("{") :])
    assert (summary["backend"], summary["frames"]) == ("tensorrt", 100)
    gate = json.loads((tmp_path / "small.engine.json").read_text())["accuracy"][0]["miou"]
    assert summary["miou"] == pytest.approx(gate, abs=0.01)


@pytest.mark.parametrize("memory", ["copied", "mapped"])
def test_an_error_at_any_call_ends_in_one_sentence_and_leaves_nothing(jetseg, tmp_path, memory):
    words, data, out = build(tmp_path, memory, frames=4)
    run = ["run", out, "--source", data, "--split", "all", "--json"]
    calls = jetseg((0, words), (0, run))[1]["calls"]
    before = np.zeros(3, int)
    for failing, one in enumerate(jetseg(*((call, run) for call in range(1, calls + 1))), 1):
        stayed, before = np.subtract(one["live"], before), np.array(one["live"])
        if one["code"] == 0:  # the frames were done, and what was refused belongs to tidying up
            assert one["refused"] in TIDIES, (failing, one["errors"])
            assert "Error" not in one["errors"]
        else:
            assert one["code"] == 3, (failing, one["errors"])
            assert one["errors"].count("Error: CUDA failed: ") + one["errors"].count("Error: The NVIDIA driver") == 1
        assert stayed.sum() <= (one["refused"] in (*FREES, "cuCtxPushCurrent_v2")), (failing, one["refused"], stayed)
    assert jetseg((0, run))[0]["code"] == 0
