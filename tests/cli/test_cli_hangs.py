"""Whatever hangs inside a library ends by itself with code 4, and by a signal within about two seconds."""

import signal
import subprocess
import sys
import time

import cv2
import pytest
from hanging import start, wait_until, write_endless_network
from small_network import write_dataset, write_small_network

from jetseg.workflows.kits import pack

SIGNALS = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT]
SOME_SLOW = [
    signal.SIGHUP,
    *(pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGTERM, signal.SIGINT)),
]
VERBS = {
    # the words, and the runs that still come back
    "run": ("run small.onnx --source {data} --split all --no-labels", 0, "timing"),
    "verify": ("verify small.kit.zip --out built.onnx --precision fp32", 1, "verifying the engine"),
    "bench": ("bench small.onnx", 3, "timing, alternated"),
    "eval": ("eval small.onnx --data {data} --split all", 1, "evaluating"),
    "calibrate": ("calibrate small.onnx --data {data} --split all --out ranges.json", 1, "calibrat"),
    "build-engine": (
        "build-engine small.onnx --data {data} --split all --eval-split all --precision fp32 --out built.onnx",
        1,
        "",
    ),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hangs")
    network, data = write_small_network(folder), write_dataset(folder / "data")
    pack(network, data=data, split="all", frames=2, out=folder / "small.kit.zip")
    return folder


def begin(place, verb, *more, after=None, **named):
    words, usual, _ = VERBS[verb]
    words = words.format(data=f"folder:{place / 'data'}").split()
    return start(place, *words, *more, after=usual if after is None else after, **named)


@pytest.mark.long
@pytest.mark.parametrize("verb", VERBS)
def test_a_run_that_does_not_come_back_ends_the_process_and_names_the_stage(place, verb):
    with begin(place, verb, "--watchdog", 1) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 4, errors
    assert "stage stopped: a run of the network has not come back for 1." in errors
    assert f"The {VERBS[verb][2]}" in errors
    assert "Traceback" not in errors


@pytest.mark.long
@pytest.mark.parametrize(
    ("verb", "number"),
    [
        *((verb, signal.SIGTERM) for verb in ("run", "verify", "bench")),
        *(pytest.param(verb, signal.SIGTERM, marks=pytest.mark.slow) for verb in ("eval", "calibrate", "build-engine")),
        *(pytest.param("verify", number, marks=pytest.mark.slow) for number in SIGNALS[1:]),
        *(("run", number) for number in SIGNALS[1:]),
    ],
)
def test_a_signal_ends_what_hangs(place, verb, number):
    with begin(place, verb) as process:
        wait_until(process, "now it hangs")
        process.send_signal(number)
        asked = time.perf_counter()
        _, errors = process.communicate(timeout=60)
    assert time.perf_counter() - asked < 5
    assert process.returncode == 128 + number, errors
    assert f"{signal.Signals(number).name} ended the process" in errors
    assert "Traceback" not in errors


@pytest.mark.long
@pytest.mark.parametrize("verb", ["verify", "eval"])
def test_a_signal_between_two_runs_lets_files_be_put_in_order(place, verb):
    with begin(place, verb, then="import time; time.sleep(60)") as process:
        wait_until(process, "now it hangs")
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert errors.strip().endswith("SIGTERM ended the process before it was done.")
    assert not list(place.glob("**/*.tmp*"))


@pytest.mark.long
@pytest.mark.parametrize("number", SOME_SLOW)
def test_in_the_loop_a_hang_and_a_signal_leave_summary_and_video(place, tmp_path, number):
    video = tmp_path / "out.mp4"
    more = ["--output", video, "--watchdog", 30]
    words = ["run", place / "small.onnx", "--source", "synthetic", "--no-labels", *more]
    with start(place, *words, after=20, thread="jetseg-infer") as process:
        wait_until(process, "now it hangs")
        process.send_signal(number)
        asked = time.perf_counter()
        _, errors = process.communicate(timeout=60)
    assert time.perf_counter() - asked < 6
    assert process.returncode == 128 + number, errors
    assert "frames per second" in errors
    assert "The infer stage stopped" in errors
    assert cv2.VideoCapture(str(tmp_path / "out.partial.mp4")).read()[0]


@pytest.mark.long
def test_a_hang_in_the_loop_ends_the_process_with_code_4_and_no_crash(place):
    words = ["run", place / "small.onnx", "--source", "synthetic", "--no-labels", "--watchdog", 1]
    with start(place, *words, after=20, thread="jetseg-infer") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 4, errors
    assert "The infer stage stopped" in errors


@pytest.mark.long
@pytest.mark.parametrize("number", SOME_SLOW)
def test_a_signal_ends_the_loop_with_summary_and_a_whole_video(place, tmp_path, number):
    video = tmp_path / "out.mp4"
    words = ["run", place / "small.onnx", "--source", "synthetic", "--no-labels", "--output", video]
    with start(place, *words, after=10**9) as process:
        wait_until(process, "Running on")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "frames per second" in output
    assert cv2.VideoCapture(str(video)).read()[0]


@pytest.mark.long
def test_memory_that_grows_in_a_library_is_named_and_the_code_is_3(tmp_path):
    network = write_endless_network(tmp_path, grows=True)
    command = [sys.executable, "-m", "jetseg", "run", str(network), "--source", "synthetic", "--no-labels"]
    done = subprocess.run(
        [*command, "--memory-gb", "0.4"], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert done.returncode == 3, done.stderr
    assert "and 0.4 GB are allowed" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_memory_that_grows_in_the_loop_ends_it_with_the_summary(place):
    words = ["run", place / "small.onnx", "--source", "synthetic", "--no-labels", "--memory-gb", 1]
    then = "left.append(numpy.ones(10_000_000)); return real(self, *arguments, **named)"
    with start(place, *words, after=10, thread="jetseg-infer", then=then) as process:
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 3, errors
    assert "of memory, and 1 GB are allowed" in errors
    assert "frames per second" in output
