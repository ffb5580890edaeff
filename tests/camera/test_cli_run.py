import json
import signal
import subprocess
import sys

import pytest


def test_summary_and_evaluation_agree(network, jetseg):
    spec = "synthetic:6"
    code, out, _ = jetseg("run", network, "--source", spec, "--threads", 1, "--json")
    assert code == 0
    summary = json.loads(out)
    code, out, _ = jetseg("eval", network, "--data", spec, "--split", "test", "--json")
    assert code == 0
    evaluation = json.loads(out)
    assert summary["frames"] == summary["captured"] == 6
    assert summary["dropped"] == 0
    assert round(summary["miou"], 2) == evaluation["miou"]
    for name, iou in evaluation["per_class_iou"].items():
        found = summary["per_class_iou"][name]
        assert (None if found is None else round(found, 2)) == iou
    assert (summary["split"], summary["backend"]) == ("test", "onnxruntime")
    assert set(summary["frame_age_ms"]) == {"p50", "p95", "p99"}


def test_ctrl_c_ends_with_the_summary_and_a_whole_video(network, tmp_path):
    video = tmp_path / "out.mp4"
    command = [sys.executable, "-c", "from jetseg.cli.main import main; main()", "run", str(network)]
    options = ["--source", "synthetic", "--json", "--output", str(video), "--threads", "1"]
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    with process:
        for line in process.stderr:
            if "Running on synthetic" in line:
                break
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    summary = json.loads(output)
    assert summary["frames"] > 1
    assert summary["captured"] == summary["frames"] + summary["dropped"]
    assert summary["miou"] is not None
    assert video.stat().st_size > 1000
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--source", "97"], 3, "There is no camera 97"),
        (["--source", "nothing.mp4"], 2, "nothing.mp4 does not exist"),
        (["--source", "synthetic:2", "--frames", "0", "--alpha", "2"], 2, "alpha"),
        (["--source", "synthetic:2", "--output", "out.avi"], 2, "ends in .mp4"),
    ],
)
def test_mistakes_end_with_one_message(network, arguments, code, message, jetseg):
    found, out, err = jetseg("run", network, *arguments)
    assert found == code
    assert message in " ".join(err.split())
    assert out == ""


def test_table_names_the_conditions_of_its_figures(network, jetseg):
    code, out, _ = jetseg("run", network, "--source", "synthetic:3", "--threads", 1)
    assert code == 0
    out = " ".join(out.split())
    for part in ("3 of 3 frames from synthetic:3 test", "of the engine alone", "frame age", "onnxruntime on"):
        assert part in out
