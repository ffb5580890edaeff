"""Compiles `host_driver.c`, and pycuda itself against it: the original without a GPU, in about a minute."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
PYCUDA = "2026.1"
HEADERS = {
    "12.6": [
        "nvidia-cuda-runtime-cu12==12.6.77",
        "nvidia-cuda-nvcc-cu12==12.6.85",
        "nvidia-cuda-profiler-api-cu12==12.6.77",
    ],
    "13": [
        "nvidia-cuda-runtime==13.0.96",
        "nvidia-cuda-nvcc==13.0.88",
        "nvidia-cuda-crt==13.0.88",
        "nvidia-cuda-profiler-api==13.0.85",
    ],
}
SITE = """
BOOST_INC_DIR = BOOST_LIB_DIR = CUDART_LIB_DIR = CUDART_LIBNAME = CURAND_LIB_DIR = CURAND_LIBNAME = []
BOOST_PYTHON_LIBNAME = BOOST_THREAD_LIBNAME = CXXFLAGS = LDFLAGS = []
USE_SHIPPED_BOOST, CUDA_TRACE, CUDA_ENABLE_GL, CUDA_ENABLE_CURAND = True, False, False, False
CUDA_ROOT, CUDA_INC_DIR, CUDADRV_LIB_DIR, CUDADRV_LIBNAME = {folder!r}, {include!r}, [{folder!r}], ["cuda"]
"""


def build(cuda: str) -> Path:
    """Builds both for a version of CUDA's headers, once.

    Returns:
        A folder with `libcuda.so.1`, the package `pycuda`, and a module `tensorrt` that is a double over both.
    """
    if shutil.which("g++") is None:
        pytest.skip("there is no g++ to compile pycuda")
    folder = PROJECT / "build" / f"pycuda-{PYCUDA}-cuda-{cuda}"
    headers, source = folder / "headers", folder / f"pycuda-{PYCUDA}"
    if not (folder / "pycuda").is_dir():
        _pip("install", "--upgrade", "--target", headers, *HEADERS[cuda])
        _pip("download", "--no-binary", ":all:", "--no-build-isolation", "--dest", folder, f"pycuda=={PYCUDA}")
        with tarfile.open(next(folder.glob("pycuda-*.tar.gz"))) as archive:
            safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11.4 and later
            archive.extractall(folder, **safely)
        include = _include_folders(headers)
        _link(folder, include)
        (source / "siteconf.py").write_text(SITE.format(folder=str(folder), include=include))
        compiling = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
        subprocess.run([*compiling, "--target", str(folder), str(source)], check=True)  # what cannot be compiled fails
        shutil.rmtree(source)
    _link(folder, _include_folders(headers))
    (folder / "tensorrt.py").write_text("from pycuda_process import open_driver\n\nopen_driver()\n")
    return folder


def environment(folder: Path) -> dict[str, str]:
    """Returns the environment of a process that runs with both."""
    places = [str(folder), str(Path(__file__).parent), str(PROJECT)]
    return os.environ | {"LD_LIBRARY_PATH": str(folder), "PYTHONPATH": os.pathsep.join(places)}


def _link(folder: Path, include: list[str]) -> None:
    """Links the driver; what pycuda asks for besides, and jetseg does not use, is there and answers "not supported"."""
    library = folder / "libcuda.so.1"
    source = Path(__file__).with_name("host_driver.c")
    rest = folder / "rest.c"
    rest.write_text("")
    command = ["gcc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-pthread", "-Wl,-soname,libcuda.so.1"]
    command += [f"-I{place}" for place in include] + ["-o", str(library), str(source), str(rest)]
    subprocess.run(command, check=True)
    built = list(folder.glob("pycuda/_driver*.so"))
    if built:
        missing = _symbols(built[0], "--undefined-only") - _symbols(library, "--defined-only")
        rest.write_text("".join(f"int {name}(void) {{ return 801; }}\n" for name in sorted(missing)))
        subprocess.run(command, check=True)
    link = folder / "libcuda.so"
    link.unlink(missing_ok=True)
    link.symlink_to(library.name)


def _include_folders(headers: Path) -> list[str]:
    return sorted({str(path.parent) for path in headers.rglob("*.h") if path.parent.name == "include"})


def _symbols(library: Path, which: str) -> set[str]:
    told = subprocess.run(["nm", "-D", which, str(library)], capture_output=True, text=True, check=True).stdout
    names = (line.split()[-1].split("@")[0] for line in told.splitlines())
    return {name for name in names if name.startswith("cu") and name[2:3].isupper()}


def _pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", arguments[0], "--quiet", "--no-deps", *arguments[1:]]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"pycuda or CUDA's headers cannot be downloaded: {done.stderr.strip().splitlines()[-1]}")
