import json
import signal
import subprocess
import sys

import pytest
from color_network import write_color_network


@pytest.fixture
def network(tmp_path):
    return write_color_network(tmp_path)


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


@pytest.mark.long
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
        (["--source", "synthetic:2", "--alpha", "2"], 2, "--alpha"),
        (["--source", "synthetic:2", "--deadline-ms", "-1", "--seconds", "0"], 2, "deadline_ms"),
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


@pytest.mark.long
def test_ladder_and_deadline_are_in_the_summary(network, tmp_path, jetseg):
    light = tmp_path / "light.onnx"
    light.write_bytes(network.read_bytes())
    (tmp_path / "light.onnx.json").write_text((tmp_path / "colors.onnx.json").read_text())
    options = ["--source", "synthetic:12", "--threads", 1, "--deadline-ms", 0.001]
    code, out, err = jetseg("run", network, *options, "--ladder", f"{network},{light}", "--json")
    assert code == 0, err
    summary = json.loads(out)
    assert summary["deadline_misses"] == summary["frames"] == 12
    assert sum(summary["frames_by_engine"].values()) == 12
    assert set(summary["frames_by_engine"]) <= {"colors.onnx", "light.onnx"}
    assert summary["worst_frame_age_ms"] >= summary["frame_age_ms"]["p99"]
    assert sum(summary["dropped_by_cause"].values()) == summary["dropped"]
    code, out, _ = jetseg("run", network, *options)
    assert code == 0
    assert "late frames 12 older than 0.001 ms" in " ".join(out.split())


@pytest.mark.parametrize(
    ("ladder", "message"),
    [
        ("{network},nope --deadline-ms 50", "nope does not exist"),
        ("{network},{light}", "--ladder was given without --deadline-ms"),
        ("{light},{network} --deadline-ms 50", "Give the best engine"),
    ],
)
def test_ladders_that_make_no_sense_are_refused(network, ladder, message, jetseg, tmp_path):
    light = tmp_path / "light.onnx"
    light.write_bytes(network.read_bytes())
    arguments = ladder.format(network=network, light=light).split()
    code, _, err = jetseg("run", network, "--source", "synthetic:2", "--ladder", *arguments)
    assert code == 2
    assert message in " ".join(err.split())


HANGING = """
import time
from jetseg.cli import status_line
from jetseg.camera.sources.dataset import DatasetSource

def hang(*arguments):
    time.sleep(60)

{target} = hang
from jetseg.cli.main import main
main()
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("stage", "target"), [("capture", "DatasetSource.read"), ("output", "status_line.CameraStatus.write")]
)
def test_a_stage_that_hangs_ends_the_process_with_code_4(network, tmp_path, stage, target):
    script = HANGING.format(target=target)
    options = ["run", str(network), "--source", "synthetic", "--threads", "1", "--watchdog", "1"]
    result = subprocess.run(
        [sys.executable, "-c", script, *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert result.returncode == 4, result.stderr
    assert f"The {stage} stage stopped" in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


@pytest.mark.long
def test_sigterm_ends_with_the_summary_also_while_the_camera_is_away(network, tmp_path):
    command = [sys.executable, "-c", "from jetseg.cli.main import main; main()", "run", str(network)]
    options = ["--source", "97", "--wait", "--json", "--threads", "1"]
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    with process:
        for line in process.stderr:
            if "Running on 97" in line:
                break
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert json.loads(output)["captured"] == 0
    assert "Traceback" not in errors
