"""The runtime's logic, over a double of TensorRT; nothing here says what a real device does."""

import json
import threading

import numpy as np
import pytest
from small_network import small_manifest, write_dataset, write_small_network
from tensorrt_networks import request
from typer.testing import CliRunner

from jetseg.cli.main import app
from jetseg.config import changed
from jetseg.engine.engine import open_engine
from jetseg.engine.tensorrt.backend import TensorRT
from jetseg.engine.tensorrt.options import TensorRTOptions
from jetseg.errors import ArtifactError, DeviceError, ManifestError
from jetseg.manifest import Stage
from jetseg.network import load_manifest, save_manifest

INPUT = np.random.default_rng(0).uniform(-2, 2, (1, 3, 24, 32)).astype(np.float32)
OPENING = ("push", "deserialize_cuda_engine", "create_execution_context", "Stream", "pagelocked_empty")
OPENING = (*OPENING, "mem_alloc", "set_tensor_address", "retain_primary_context", "init")
RUNNING = ("memcpy_htod_async", "set_tensor_address", "execute_async_v3", "memcpy_dtoh_async", "synchronize")


@pytest.fixture
def engine(double, tmp_path):
    """Gives the double and an engine that was built with it."""
    made = double()
    model = write_small_network(tmp_path)
    path = tmp_path / "small.engine"
    report = TensorRT().build(request(model, small_manifest(), "int8", path, TensorRTOptions()))
    save(path, device=report.device, versions=dict(report.toolchain))
    made.events.clear()
    return made, path


def save(path, device, versions, **changes):
    manifest = small_manifest().changed(**{"kind": "engine", "backend": "tensorrt", "precision": "int8", **changes})
    save_manifest(path, manifest, device=device, versions=versions)


def released(made):
    return made.memory == {} and made.contexts == 0 and made.current.depth == 0


def test_calls_come_in_order_and_nothing_is_allocated_per_frame(engine):
    made, path = engine
    runner = open_engine(path)
    assert made.events[0] == "probe"
    assert made.events.count("mem_alloc") == 3, "one for the input, two for the output"
    made.events.clear()
    first = runner.infer(INPUT)
    assert made.events == ["push", *RUNNING, "run"]
    kept = first.copy()
    np.testing.assert_array_equal(runner.infer(INPUT), kept)
    assert not np.array_equal(runner.infer(INPUT * 0), kept)
    runner.close()
    assert released(made)


@pytest.mark.parametrize("memory", ["copied", "mapped"])
def test_an_output_stays_as_it_is_while_later_frames_run(double, tmp_path, memory):
    double()
    path = tmp_path / "small.engine"
    TensorRT().build(
        request(write_small_network(tmp_path), small_manifest(), "int8", path, TensorRTOptions(memory=memory))
    )
    save(path, device="Double GPU (sm_87)", versions={"tensorrt": "10.3.0"})
    with open_engine(path) as runner:
        frames = [INPUT, INPUT * 0, -INPUT, INPUT / 2]
        one_by_one = [runner.infer(frame).copy() for frame in frames]
        held = [runner.infer(frame) for frame in frames]
        for output, expected in zip(held, one_by_one, strict=True):
            np.testing.assert_array_equal(output, expected)
        addresses = {runner.infer(frame).ctypes.data for frame in frames[:1] * 5}
    assert len(addresses) == 1, "what nobody holds is written to again"


def test_another_thread_may_run_the_engine(engine):
    made, path = engine
    runner = open_engine(path)
    here, there = runner.infer(INPUT).copy(), []
    thread = threading.Thread(target=lambda: there.append(runner.infer(INPUT).copy()))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(there[0], here)
    runner.close()
    assert released(made)


def test_close_is_idempotent_and_a_closed_runner_says_so(engine):
    made, path = engine
    runner = open_engine(path)
    runner.close()
    runner.close()
    assert made.events.count("detach") == 1
    with pytest.raises(ArtifactError, match="was closed"):
        runner.infer(INPUT)


@pytest.mark.parametrize("step", OPENING)
def test_an_error_at_any_step_of_opening_releases_everything(engine, step):
    made, path = engine
    made.failing.add(step)
    with pytest.raises((DeviceError, ArtifactError)):
        open_engine(path)
    made.failing.clear()
    assert made.contexts == 0
    assert made.memory == {}
    open_engine(path).close()
    assert released(made)


@pytest.mark.parametrize("step", RUNNING)
def test_an_error_while_running_is_told_and_the_runner_can_be_closed(engine, step):
    made, path = engine
    runner = open_engine(path)
    made.failing.add(step)
    with pytest.raises(DeviceError, match=r"CUDA failed|TensorRT (failed|does not take)"):
        runner.infer(INPUT)
    made.failing.clear()
    made.events.clear()
    runner.close()
    assert made.events.index("synchronize") < made.events.index("free")  # a copy may be under way
    assert released(made)


def test_closing_survives_a_context_that_is_gone(engine):
    made, path = engine
    runner = open_engine(path)
    made.failing.add("push")
    runner.close()
    assert made.contexts == 0


def test_an_engine_of_another_version_or_device_says_how_to_build_it_again(engine):
    made, path = engine
    stage = Stage(name="build-engine", settings={"keep_float": ["c3"], "options": {"workspace_mb": "512"}})
    save(path, device="Orin (sm_87)", versions={"tensorrt": "10.13.3.9"}, stages=(stage,))
    with pytest.raises(ArtifactError) as caught:
        open_engine(path)
    message = str(caught.value)
    assert "with TensorRT 10.13.3.9 (here: 10.3.0) and on Orin (sm_87) (here: Double GPU (sm_87))" in message
    assert "--backend tensorrt --precision int8 --calibration RANGES.json" in message
    assert "--keep-float c3 --option workspace_mb=512" in message
    assert "Runtime" not in made.events
    assert made.contexts == 0


def test_a_damaged_engine_is_not_opened(engine):
    made, path = engine
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    with pytest.raises(ArtifactError, match="truncated, damaged or replaced"):
        open_engine(path)
    assert made.events == []
    path.write_bytes(b"something else")
    save(path, device="Double GPU (sm_87)", versions={"tensorrt": "10.3.0"})
    with pytest.raises(ArtifactError, match=r"no engine that TensorRT 10\.3\.0 opens.* It says: Serialization"):
        open_engine(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"outputs": (changed(small_manifest().output, name="nonsense"),)}, "no output named nonsense"),
        ({"input": changed(small_manifest().input, height=48)}, r"\[1, 3, 48, 32\]"),
        ({"input": changed(small_manifest().input, kind="frame")}, "UINT8|5"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(engine, changes, said):
    made, path = engine
    save(path, device="Double GPU (sm_87)", versions={"tensorrt": "10.3.0"}, **changes)
    with pytest.raises(ManifestError, match=said):
        open_engine(path)
    assert (made.contexts, made.memory) == (0, {})


def test_an_engine_with_an_open_size_gets_that_of_the_manifest(double, tmp_path):
    import onnx
    from small_network import small_network
    from tensorrt_double import MAGIC

    made = double()
    model = small_network()
    for port in (*model.graph.input, *model.graph.output):
        for dim, name in zip(port.type.tensor_type.shape.dim, ("one", "channels", "h", "w"), strict=True):
            if name in ("h", "w"):
                dim.dim_param = name
    del model.graph.value_info[:]
    path = tmp_path / "open.engine"
    path.write_bytes(MAGIC + model.SerializeToString())
    save(path, device="Double GPU (sm_87)", versions={})
    runner = open_engine(path)
    onnx.save(model, str(tmp_path / "open.onnx"))
    save_manifest(tmp_path / "open.onnx", small_manifest())
    np.testing.assert_allclose(runner.infer(INPUT), open_engine(tmp_path / "open.onnx").infer(INPUT), atol=1e-4)
    runner.close()
    assert released(made)


def test_the_command_line_builds_and_runs(double, tmp_path):
    made = double("11.4.0.106")
    model, data, out = write_small_network(tmp_path), write_dataset(tmp_path / "data"), tmp_path / "e.engine"
    command = [
        "build-engine",
        str(model),
        "--backend",
        "tensorrt",
        "--data",
        data,
        "--split",
        "all",
        "--eval-split",
        "all",
    ]
    command += ["--preset", "fast", "--images", "4", "--max-drop", "100", "--max-class-drop", "100", "--out", str(out)]
    done = CliRunner().invoke(app, [*command, "--option", "workspace_mb=300"], catch_exceptions=False)
    assert "Layers of the engine: " in done.stdout
    command = ["run", str(out), "--source", data, "--split", "all", "--json"]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    summary = json.loads(done.stdout[done.stdout.index("{") :])
    assert (summary["backend"], summary["frames"]) == ("tensorrt", 6)
    assert summary["miou"] == pytest.approx(
        json.loads((tmp_path / "e.engine.json").read_text())["accuracy"][0]["miou"], abs=0.01
    )
    assert released(made)


def test_a_kit_is_verified_on_the_device_and_its_engine_opens_there_again(double, tmp_path):
    made = double()
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data", frames=6)
    ranges, kit, out = tmp_path / "r.json", tmp_path / "n.kit.zip", tmp_path / "e.engine"

    def jetseg(*words):
        done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert done.exit_code == 0, done.output

    jetseg("calibrate", model, "--data", data, "--split", "all", "--out", ranges)
    wide = ("--min-agreement", 80, "--max-drop", 20, "--max-class-drop", 40)
    jetseg("pack", model, "--data", data, "--split", "all", "--calibration", ranges, *wide, "--out", kit)
    jetseg("verify", kit, "--backend", "tensorrt", "--out", out)
    manifest = load_manifest(out)
    assert "sm_87" in str(manifest.device)
    assert manifest.parity is not None
    open_engine(out).close()
    assert released(made)
