"""What can be told about the images without building them, and (slow) the building itself."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import yaml
from small_network import small_manifest, small_network, write_dataset
from typer.testing import CliRunner

from jetseg.cli.main import app
from jetseg.network import save_manifest
from jetseg.workflows.kits import pack

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    text = "\n".join(line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#"))
    lines = (line.strip() for line in text.replace("\\\n", " ").splitlines())
    return [tuple(line.split(maxsplit=1)) for line in lines if line]


def stages(dockerfile: Path) -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for instruction in instructions(dockerfile):
        if instruction[0] == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    return found


def test_there_is_an_image_for_each_environment():
    assert [path.name for path in DOCKERFILES] == ["cpu.Dockerfile", "jetson-jp6.Dockerfile", "jetson-jp7.Dockerfile"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
class TestDockerfile:
    def test_every_copied_path_exists_and_reaches_the_builder(self, dockerfile):
        sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
        copied = [shlex.split(rest)[:-1] for name, rest in instructions(dockerfile) if name in {"COPY", "ADD"}]
        paths = [path for paths in copied if not paths[0].startswith("--from") for path in paths]
        assert paths
        for path in paths:
            assert (ROOT / path).exists(), path
            assert path.rstrip("/") in sent, path

    def test_bases_are_arguments_with_pinned_defaults(self, dockerfile):
        defaults = {}
        for name, rest in instructions(dockerfile):
            if name == "FROM":
                break
            argument, _, value = rest.partition("=")
            defaults[argument] = value
        used = [rest.split()[0] for name, rest in instructions(dockerfile) if name == "FROM"]
        assert used
        for base in used:
            default = defaults[base.removeprefix("${").removesuffix("}")]
            tag = default.rpartition("/")[2].partition(":")[2]
            assert re.search(r"\d+\.\d+", tag), default
            assert "latest" not in tag

    def test_the_last_stage_has_no_compiler_no_root_and_a_health_check(self, dockerfile):
        last = stages(dockerfile)[-1]
        assert len(stages(dockerfile)) > 1
        installed = " ".join(rest for name, rest in last if name == "RUN").split()
        assert not {"g++", "gcc", "build-essential", "python3-dev", "cmake"} & set(installed)
        users = [rest for name, rest in last if name == "USER"]
        assert users
        assert users[-1] not in {"0", "root"}
        assert any(name == "HEALTHCHECK" and "CMD" in rest for name, rest in last)

    def test_hadolint_is_content(self, dockerfile):
        hadolint = shutil.which("hadolint", path=Path(sys.executable).parent) or shutil.which("hadolint")
        if hadolint is None:
            pytest.skip("hadolint is not installed (extra dev)")
        command = [hadolint, "--config", ROOT / ".hadolint.yaml", dockerfile]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["constraints.txt", "docker/jetson-constraints.txt"])
@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12"])
def test_each_machine_gets_one_onnx_runtime_and_arm64_one_that_loads_there(name, python):
    from packaging.requirements import Requirement

    lines = [line for line in (ROOT / name).read_text().splitlines() if line.startswith("onnxruntime==")]
    pinned = {}
    for machine in ("aarch64", "x86_64"):
        here = {"platform_machine": machine, "python_full_version": f"{python}.0", "python_version": python}
        found = [Requirement(line) for line in lines]
        (pinned[machine],) = [
            str(entry.specifier) for entry in found if not entry.marker or entry.marker.evaluate(here)
        ]
    assert pinned["aarch64"] == ("==1.23.2" if python == "3.10" else "==1.26.0")
    assert pinned["x86_64"] == ("==1.23.2" if python == "3.10" else "==1.32.0")


def test_the_service_restarts_is_read_only_and_gets_its_devices():
    service = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]["jetseg"]
    assert (service["runtime"], service["read_only"], service["restart"]) == ("nvidia", True, "unless-stopped")
    assert any(device.startswith("/dev/video") for device in service["devices"])
    named, *binds = service["volumes"]
    assert named.endswith(":/vehicle/engines")
    assert any("argus_socket" in bind["target"] for bind in binds)
    assert all(bind["bind"] == {"create_host_path": False} for bind in binds)
    assert service["mem_limit"] == service["memswap_limit"]
    assert service["pids_limit"]
    assert (ROOT / "docker" / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_jetpack_7_changes_the_image_and_how_the_gpu_comes_in():
    class Loader(yaml.SafeLoader):
        """Knows the mark with which compose takes a key away."""

    Loader.add_constructor("!reset", lambda loader, node: None)
    changes = yaml.load((ROOT / "docker" / "compose.jp7.yaml").read_text(), Loader)["services"]["jetseg"]
    base = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]["jetseg"]
    assert changes["runtime"] is None
    assert changes["devices"] == ["nvidia.com/gpu=all"]  # compose adds it to the cameras of the base
    assert (ROOT / "docker" / base["build"]["context"] / changes["build"]["dockerfile"]).is_file()


def test_the_commands_in_compose_and_systemd_are_ones_that_jetseg_has():
    from typer import Context
    from typer.main import get_command

    verbs = get_command(app)
    service = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]["jetseg"]
    unit = (ROOT / "docker" / "jetseg.service").read_text()
    started = re.search(r"^ExecStart=\S+/jetseg (.*)$", unit, re.MULTILINE)
    probe = service["healthcheck"]["test"]
    assert probe[:2] == ["CMD", "jetseg"]
    contexts = []
    for words in (service["command"], shlex.split(started[1]), probe[2:]):
        verb = verbs.get_command(Context(verbs), words[0])
        contexts.append(verb.make_context(words[0], list(words[1:])))
    loop, unit_loop, health = (context.params for context in contexts)
    assert loop["source"] == unit_loop["source"] == "0"
    assert loop["metrics"] == health["metrics"]


def test_systemd_takes_the_unit_and_finds_it_closed_enough(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "jetseg.service"
    text = (ROOT / "docker" / "jetseg.service").read_text()
    unit.write_text(text.replace("/opt/jetseg/bin/jetseg", "/bin/true"))
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=30", unit]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout
    assert {"Type=notify", "WatchdogSec=30", "SystemCallFilter=@system-service"} <= set(text.splitlines())


def write_drive(folder: Path) -> Path:
    """Writes what `images.sh` takes as DRIVE: a network, frames to calibrate on and to drive, and a kit."""
    data = write_dataset(folder / "data")
    model = folder / "net.onnx"
    onnx.save(small_network(), str(model))
    save_manifest(model, small_manifest())
    pack(model, data=data, split="all", frames=2, out=folder / "net.kit.zip")
    return folder


def drive_here(folder: Path) -> Path:
    """Does on this machine what `images.sh` does inside an image; returns the folder of class maps."""
    data, ranges, engine = f"folder:{folder / 'data'}", folder / "here.ranges.json", folder / "here.onnx"
    for words in (
        ("calibrate", folder / "net.onnx", "--data", data, "--split", "all", "--out", ranges),
        ("build-engine", folder / "net.onnx", "--calibration", ranges, "--out", engine),
        ("run", engine, "--source", data, "--split", "all", "--no-labels", "--class-maps", folder / "here"),
    ):
        done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    return folder / "here"


def agreement(one: Path, other: Path) -> float:
    """Returns the percentage of pixels with the same class in two folders of class maps."""
    names = sorted(path.name for path in one.glob("*.png"))
    assert names == sorted(path.name for path in other.glob("*.png"))
    assert names
    same = [cv2.imread(str(one / name), -1) == cv2.imread(str(other / name), -1) for name in names]
    return 100 * float(np.mean(same))


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("buildah") or not shutil.which("debootstrap"),
    reason="needs root, buildah and debootstrap",
)
@pytest.mark.parametrize(
    ("image", "architecture", "least"),
    [
        ("cpu", "amd64", 100.0),
        ("workshop", "amd64", 100.0),
        ("jetson-jp6", "arm64", 99.0),
        ("jetson-jp7", "arm64", 99.0),
    ],
)
def test_an_image_is_built_and_gives_the_class_maps_of_this_machine(tmp_path, image, architecture, least):
    if architecture == "arm64" and not Path("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists():
        pytest.skip("arm64 programs do not run here (qemu-user-static, binfmt-support)")
    drive = write_drive(tmp_path)
    done = subprocess.run(
        [ROOT / "docker" / "images.sh", image],
        env={**os.environ, "DRIVE": str(drive), "ARCH": architecture},
        capture_output=True,
        text=True,
        check=False,
    )
    sys.stdout.write(done.stdout[-4000:] + done.stderr[-4000:])
    assert done.returncode == 0
    assert "engines/kit.onnx: verified" in done.stdout
    assert done.stdout.rstrip().endswith(f"{image}: built and run")
    assert agreement(drive / f"{image}-{architecture}", drive_here(drive)) >= least
