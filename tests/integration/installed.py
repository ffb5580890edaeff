"""Installs a project into a folder of its own, as pip would into an environment, without a network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def install(project: Path, folder: Path) -> Path:
    """Builds a wheel of a project and unpacks it; returns the folder to put on PYTHONPATH.

    The build runs in a copy, because it leaves files behind.
    """
    copy = folder / "project"
    copy.mkdir()
    for item in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "jetseg", "engines", "jetseg_example"):
        if (project / item).is_dir():
            shutil.copytree(project / item, copy / item)
        elif (project / item).is_file():
            shutil.copy(project / item, copy)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheels, place = folder / "wheels", folder / "site"
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(wheels), str(copy)]
    subprocess.run([*pip, *build], check=True, capture_output=True, text=True, timeout=200)
    (wheel,) = wheels.iterdir()
    unpack = ["install", "--no-deps", "--no-index", "--target", str(place), str(wheel)]
    subprocess.run([*pip, *unpack], check=True, capture_output=True, text=True, timeout=200)
    return place


def python(
    arguments: list[object], folder: Path, *places: Path, timeout: int = 200
) -> subprocess.CompletedProcess[str]:
    """Runs Python in a folder, with projects that were installed elsewhere."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
