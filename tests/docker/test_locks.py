"""The hash-locked sets of the images: whole, of the constrained versions; digests of bases; actions by commit."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DIGEST = "sha256:" + "5a" * 32
VEHICLE = {"tensorrt", "record", "dashboard", "deploy", "ros2", "mcap", "foxglove", "mqtt"}
IMAGES = [
    # locks, constraints, extras, Python and processor of the image
    (["cpu.lock"], "constraints.txt", {"cpu"}, "3.11", "x86_64"),
    (["cpu.lock"], "constraints.txt", {"cpu"}, "3.11", "aarch64"),
    (["jetson.lock", "pycuda.lock"], "docker/jetson-constraints.txt", VEHICLE, "3.10", "aarch64"),
    (["jetson.lock", "pycuda.lock"], "docker/jetson-constraints.txt", VEHICLE, "3.12", "aarch64"),
]


def environment(python: str, machine: str) -> dict[str, str]:
    system = {"sys_platform": "linux", "platform_system": "Linux", "implementation_name": "cpython"}
    return {"python_full_version": f"{python}.9", "python_version": python, "platform_machine": machine, **system}


def pinned(text: str, here: dict[str, str]) -> dict[str, str]:
    """Returns name and exact version of what an environment takes of a file of requirements."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        entry = line.split("--hash")[0].rstrip("\\ ")
        if not entry or entry.startswith(("#", " ")):
            continue
        requirement = Requirement(entry)
        if requirement.marker is None or requirement.marker.evaluate(here):
            (version,) = requirement.specifier
            assert version.operator == "==", line
            assert canonicalize_name(requirement.name) not in found, line
            found[canonicalize_name(requirement.name)] = version.version
    return found


@pytest.mark.parametrize(("locks", "constraints", "extras", "python", "machine"), IMAGES)
def test_an_image_takes_all_that_jetseg_requires_from_its_lock(locks, constraints, extras, python, machine):
    here = environment(python, machine)
    locked = pinned("\n".join((DOCKER / name).read_text() for name in locks), here)
    constrained = pinned((ROOT / constraints).read_text(), here)
    assert locked == {name: constrained[name] for name in locked}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = project["project"]["dependencies"] + project["build-system"]["requires"]
    wanted += [entry for extra in extras for entry in project["project"]["optional-dependencies"][extra]]
    for entry in map(Requirement, [*wanted, "onnxruntime", "pip", "wheel"]):
        if entry.marker is not None and not entry.marker.evaluate(here):
            continue
        assert entry.specifier.contains(locked[canonicalize_name(entry.name)]), entry


@pytest.mark.parametrize("name", ["cpu.lock", "jetson.lock", "pycuda.lock"])
def test_each_locked_version_has_hashes(name):
    entries = (DOCKER / name).read_text().replace("\\\n", " ").splitlines()
    assert entries
    for entry in entries:
        assert re.fullmatch(r"[\w.-]+==\S+(?: ; [^\\]*?)?\s+(?:--hash=sha256:[0-9a-f]{64}\s*)+", entry), entry


@pytest.mark.parametrize("dockerfile", sorted(DOCKER.glob("*.Dockerfile")), ids=lambda path: path.name)
def test_the_first_thing_that_pip_does_in_an_image_is_by_hash(dockerfile):
    installs = re.findall(r"/pip (install(?:[^&;]|\\\n)*)", dockerfile.read_text())
    assert len(installs) >= 2
    assert "--require-hashes" in installs[0]
    for words in installs[:-1]:
        assert "--require-hashes" in words
    assert "--no-build-isolation" in installs[-1]
    assert "--constraint" in installs[-1]


def pin_bases(folder: Path, answer: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Runs the script over a Dockerfile, with a registry of images that answers one thing; returns the Dockerfile."""
    (folder / "pin-bases.sh").write_bytes((DOCKER / "pin-bases.sh").read_bytes())
    (folder / "skopeo").write_text(f"#!/bin/sh\n{answer}\n")
    (folder / "skopeo").chmod(0o755)
    path = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", str(folder / "pin-bases.sh")], env=path, capture_output=True, text=True, check=False, timeout=60
    )
    return done, (folder / "one.Dockerfile").read_text()


def test_digests_are_written_behind_tags_and_renewed(tmp_path):
    (tmp_path / "one.Dockerfile").write_text(
        f"ARG BUILD_BASE=r.io/a:1.2-devel@sha256:{'0' * 64}\nARG BASE=r.io/a:1.2\nFROM ${{BASE}}\n"
    )
    done, text = pin_bases(tmp_path, f"echo {DIGEST}")
    assert done.returncode == 0, done.stderr
    assert text == f"ARG BUILD_BASE=r.io/a:1.2-devel@{DIGEST}\nARG BASE=r.io/a:1.2@{DIGEST}\nFROM ${{BASE}}\n"


@pytest.mark.parametrize("answer", ["exit 1", "echo '<html>'", "true"])
def test_a_base_that_is_not_resolved_stays_and_is_named(tmp_path, answer):
    before = "ARG BASE=r.io/a:1.2\nFROM ${BASE}\n"
    (tmp_path / "one.Dockerfile").write_text(before)
    done, text = pin_bases(tmp_path, answer)
    assert (done.returncode, text) == (3, before)
    assert "r.io/a:1.2 could not be resolved" in done.stderr


def test_actions_are_named_by_commit():
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            for step in job["steps"]:
                assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step.get("uses", f"own/run@{'0' * 40}")), step
