"""The process may end at any system call that changes a file: a reader sees the old or the new, and the next run goes on."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from operations import OPERATIONS

HERE = Path(__file__).parent
SAMPLE = 8
CHEAP = ("build", "calibration", "class maps", "record")
"""Operations that take a fraction of a second."""
NEEDS = {"train": "torch", "record": "av"}


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    if sys.platform != "linux":
        pytest.skip("the shim is for Linux")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, HERE / "shim.c", "-ldl"], check=True
    )
    return library


def drive(name, shim, folder, points):
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    tests = HERE.parent
    path = os.pathsep.join([str(HERE), str(tests), str(tests / "camera"), *sys.path])
    environment = {**os.environ, "LD_PRELOAD": str(shim), "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "driver.py"), name, str(folder), points]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["failures"] == []
    return found


@pytest.mark.long
@pytest.mark.parametrize("name", CHEAP)
def test_some_points(name, shim, tmp_path):
    assert drive(name, shim, tmp_path, str(SAMPLE))["points"] > SAMPLE / 2


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_point(name, shim, tmp_path):
    found = drive(name, shim, tmp_path, "all")
    assert found["points"] >= found["calls"] > 10
