"""Every mistake of a user is one plain message with the right exit code."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_network import edit_manifest, forget_hash, write_dataset, write_small_network

import jetseg as package
from jetseg.cli import main as cli
from jetseg.errors import GateError
from jetseg.manifest import Manifest
from jetseg.manifest_file import manifest_path, write_manifest
from jetseg.storage import sha256_file


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return write_small_network(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> str:
    return write_dataset(tmp_path / "data", frames=2)


def damaged(network: Path, data: str) -> None:
    content = network.read_bytes()
    network.write_bytes(content[: len(content) // 2])


def damaged_without_hash(network: Path, data: str) -> None:
    damaged(network, data)
    forget_hash(network)


def no_manifest(network: Path, data: str) -> None:
    manifest_path(network).unlink()


def broken_manifest(network: Path, data: str) -> None:
    manifest_path(network).write_text('{"classes": [], "input": {"height": -1}}')


def other_classes(network: Path, data: str) -> None:
    edit_manifest(network, lambda content: content["outputs"][0].update(classes=["road", "sky", "car"]))


def other_size(network: Path, data: str) -> None:
    edit_manifest(network, lambda content: content.update(input={"height": 25, "width": 32}))


def more_classes_than_channels(network: Path, data: str) -> None:
    edit_manifest(network, lambda content: content["outputs"][0].update(classes=["road", "car", "sky", "tree"]))


def no_labels(network: Path, data: str) -> None:
    shutil.rmtree(Path(data.removeprefix("folder:")) / "labels")


def no_data(network: Path, data: str) -> None:
    shutil.rmtree(data.removeprefix("folder:"))


@pytest.mark.parametrize("verb", ["eval", "report"])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (damaged, "SHA-256 differs"),
        (damaged_without_hash, "small.onnx"),
        (no_manifest, "has no manifest"),
        (broken_manifest, "input.height"),
        (other_classes, "The network's classes are road, sky, car"),
        (other_size, "25"),
        (more_classes_than_channels, "road, car, sky, tree"),
        (no_labels, "label"),
        (no_data, "data"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(jetseg, network, data, tmp_path, verb, spoil, words):
    spoil(network, data)
    out_file = tmp_path / "report.html"
    options = ("--out", out_file) if verb == "report" else ()
    code, out, err = jetseg(verb, network, "--data", data, "--split", "all", *options)
    assert code == 2, err
    assert out == ""
    assert "Error: " in err
    assert words in err
    assert "Traceback" not in err
    assert "did not expect" not in err
    assert not out_file.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("eval", "gone.onnx", "--data", "{data}", "--split", "all"), "gone.onnx does not exist"),
        (("eval", "{network}", "--data", "{data}", "--split", "night"), "night"),
        (("eval", "{network}", "--data", "nonsense", "--split", "all"), "not a dataset spec"),
        (("eval", "{network}", "--data", "synthetic:0", "--split", "all"), "synthetic"),
        (("eval", "{network}"), "--data"),
        (("eval", "{network}", "--data", "{data}", "--frames", "0"), "--frames"),
        (("bench",), "A [B...]"),
        (("bench", "gone.safetensors"), "gone.safetensors"),
        (("bench", "{network}", "--rounds", "0"), "--rounds"),
        (("report", "{network}", "--data", "{data}", "--examples", "-1"), "--examples"),
        (("drive",), "drive"),
    ],
)
def test_wrong_usage_is_exit_code_2(jetseg, network, data, arguments, words):
    code, out, err = jetseg(*(argument.format(network=network, data=data) for argument in arguments))
    assert (code, out) == (2, ""), err
    assert words in err
    assert "did not expect" not in err


def test_a_place_that_cannot_be_written_is_exit_code_3(jetseg, network, data, tmp_path):
    (tmp_path / "file").write_text("")
    options = ("--data", data, "--split", "all", "--rounds", 1, "--seconds", 0.01)
    code, _, err = jetseg("report", network, *options, "--out", tmp_path / "file" / "r.html")
    assert code == 3
    assert "could not be written" in err


def test_a_gate_that_failed_is_exit_code_1(jetseg, network, data, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise GateError("mIoU fell by 4.2 points.", "Calibrate with more images.")

    monkeypatch.setattr("jetseg.workflows.evaluating.measure_accuracy", fail)
    code, _, err = jetseg("eval", network, "--data", data, "--split", "all")
    assert (code, "mIoU fell by 4.2 points. Calibrate with more images." in err) == (1, True)


def test_a_bug_is_told_apart_and_debug_shows_where(jetseg, network, data, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("jetseg.workflows.evaluating.measure_accuracy", fail)
    code, _, err = jetseg("eval", network, "--data", data, "--split", "all")
    assert (code, "did not expect: ZeroDivisionError" in err, "Traceback" in err) == (70, True, False)
    code, _, err = jetseg("--debug", "eval", network, "--data", data, "--split", "all")
    assert (code, "Traceback" in err) == (70, True)


def test_ctrl_c_is_exit_code_130(jetseg, network, data, monkeypatch):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jetseg.workflows.evaluating.measure_accuracy", interrupt)
    code, _, err = jetseg("eval", network, "--data", data, "--split", "all")
    assert (code, "Error" in err, "Traceback" in err) == (130, False, False)


def test_version_and_help(jetseg):
    assert jetseg("--version")[:2] == (0, f"jetseg {package.__version__}\n")
    code, out, _ = jetseg("--help")
    assert code == 0
    assert all(verb in out for verb in ("eval", "bench", "report"))


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_explains_itself_with_examples(jetseg, verb):
    code, out, _ = jetseg(verb, "--help")
    assert code == 0
    assert f"jetseg {verb}" in out.partition("Examples:")[2]


def test_help_and_evaluation_work_without_torch(network, data):
    """Blocks torch in a process of its own: nothing on the vehicle may import it."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from jetseg.cli.main import main\n"
        f"sys.argv = ['jetseg', 'eval', {str(network)!r}, '--data', {data!r}, '--split', 'all', '--json']\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frames"] == 2


def test_a_checkpoint_without_torch_names_the_extra(tmp_path):
    (tmp_path / "net.safetensors").write_bytes(b"")
    manifest = {"kind": "checkpoint", "classes": ["a"], "input": {"height": 24, "width": 32}}
    sealed = Manifest.model_validate(manifest | {"sha256": sha256_file(tmp_path / "net.safetensors")})
    write_manifest(tmp_path / "net.safetensors.json", sealed)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from jetseg.cli.main import main\n"
        f"sys.argv = ['jetseg', 'bench', {str(tmp_path / 'net.safetensors')!r}]\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, "[train]" in done.stderr) == (3, True), done.stderr


@pytest.mark.parametrize("verb", ["run", "deploy", "verify", "lint", "sign"])
def test_a_name_that_is_too_long_is_wrong_input(jetseg, verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where `deploy` makes a folder for its releases
    more = {"run": ["--source", "synthetic:1"], "sign": ["--sign", "key"]}.get(verb, [])
    code, _, err = jetseg(verb, "x" * 300, *more)
    assert (code, "name of a file is too long" in err) == (2, True), err
