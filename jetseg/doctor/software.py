"""Checks of libraries: each one is imported in a process of its own, where a crash does no harm."""

from __future__ import annotations

import re

from jetseg.doctor.finding import Finding
from jetseg.doctor.host import Host, ProbeResult
from jetseg.doctor.machine import is_jetson
from jetseg.installation import install_hint

OLDEST_TENSORRT = (10, 3)
_VERSION = "import json, {0}; print(json.dumps(dict(version={0}.__version__)))"
_OPENCV = "import json, cv2; print(json.dumps(dict(version=cv2.__version__, build=cv2.getBuildInformation())))"
_NUMPY = """
import json, numpy
values = (numpy.arange(4096 * 32, dtype=numpy.float32) % 7).reshape(4096, 32)
exact = numpy.einsum("ni,nj->ij", values.astype(float), values.astype(float))
print(json.dumps(dict(version=numpy.__version__, error=float(abs(values.T @ values / exact - 1).max()))))
"""
_LARGEST_ERROR = 1e-3
_LITERT = (
    "import json; from importlib.metadata import version; import ai_edge_litert.interpreter; "
    "print(json.dumps(dict(version=version('ai-edge-litert'))))"
)
_PYCUDA = "import json, pycuda, pycuda.driver; print(json.dumps(dict(version=pycuda.VERSION_TEXT)))"
_DRIVER = """
import ctypes, json
cuda = ctypes.CDLL("libcuda.so.1")
status = cuda.cuInit(0)
version, count, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(128)
major, minor = ctypes.c_int(), ctypes.c_int()
cuda.cuDriverGetVersion(ctypes.byref(version))
if status == 0:
    cuda.cuDeviceGetCount(ctypes.byref(count))
if count.value:
    device = ctypes.c_int()
    cuda.cuDeviceGet(ctypes.byref(device), 0)
    cuda.cuDeviceGetName(name, 128, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)
print(json.dumps(dict(status=status, version=version.value, count=count.value, name=name.value.decode(),
                      capability=f"{major.value}.{minor.value}")))
"""
_BACKEND = "from jetseg.engine.backend import find_backend; find_backend({0!r}); print(dict())"
_RUNTIME = """
import ctypes, json
for name in ("libcudart.so", "libcudart.so.13", "libcudart.so.12"):
    try:
        cudart = ctypes.CDLL(name)
        break
    except OSError as error:
        last = error
else:
    raise last
version = ctypes.c_int()
cudart.cudaRuntimeGetVersion(ctypes.byref(version))
print(json.dumps(dict(version=version.value)))
"""


def check_onnxruntime(host: Host) -> Finding:
    """Looks for ONNX Runtime, the CPU backend."""
    probe = host.python(_VERSION.format("onnxruntime"))
    step = "Install it with: pip install onnxruntime."
    if "crashed" in probe.error:
        step = "Install an older one, as 1.28 to 1.32 crashed on arm64: pip install 'onnxruntime<1.27'."
    return _library("ONNX Runtime", probe, step)


def check_litert(host: Host) -> Finding:
    """Looks for LiteRT."""
    return _library("LiteRT", host.python(_LITERT), f"Needed for .tflite engines only. {install_hint('litert')}")


def check_tensorrt(host: Host) -> Finding:
    """Looks for TensorRT and its age."""
    if is_jetson(host):
        step = (
            "Install it with `sudo apt install nvidia-jetpack`, and make the virtual environment with "
            "--system-site-packages."
        )
    else:
        step = "Not needed to prepare networks; it comes with JetPack on the vehicle."
    found = _library("TensorRT", host.python(_VERSION.format("tensorrt")), step)
    if found.verdict == "ok" and _numbers(found.found) < OLDEST_TENSORRT:
        return Finding(
            found.name, "warning", found.found, "jetseg knows TensorRT 10.3 and newer; flash JetPack 6 or newer."
        )
    return found


def check_cuda_driver(host: Host) -> Finding:
    """Asks the CUDA driver for a GPU."""
    name = "CUDA driver"
    probe = host.python(_DRIVER)
    if probe.error:
        step = (
            "In a container, start it with the nvidia runtime; else flash JetPack again."
            if is_jetson(host)
            else "Not needed to prepare networks; a machine with an NVIDIA GPU needs NVIDIA's driver."
        )
        return Finding(name, "missing", probe.error, step)
    version = _cuda_version(probe.values["version"])
    if not probe.values["count"]:
        return Finding(
            name,
            "warning",
            f"driver for CUDA {version}, but it gives no GPU (status {probe.values['status']})",
            "Pass the GPU into the container (--runtime nvidia), or check that the user is in the group video.",
        )
    gpu = f"{probe.values['name']}, compute capability {probe.values['capability']}"
    return Finding(name, "ok", f"for CUDA {version}; {gpu}")


def check_cuda_runtime(host: Host) -> Finding:
    """Looks for the CUDA runtime library."""
    probe = host.python(_RUNTIME)
    if probe.error:
        step = (
            "Install it with `sudo apt install nvidia-jetpack`."
            if is_jetson(host)
            else "Not needed to prepare networks; it comes with JetPack on the vehicle."
        )
        return Finding("CUDA runtime", "missing", probe.error, step)
    return Finding("CUDA runtime", "ok", _cuda_version(probe.values["version"]))


def check_pycuda(host: Host) -> Finding:
    """Looks for pycuda, which the TensorRT backend moves data with."""
    step = f"{install_hint('tensorrt')} It is compiled against CUDA, which takes a few minutes."
    return _library("pycuda", host.python(_PYCUDA), step)


def check_foreign_backend(host: Host, name: str) -> Finding:
    """Looks whether the backend of another package can be imported here, with what it needs."""
    probe, finding = host.python(_BACKEND.format(name)), foreign_backend_finding(name)
    if probe.error:
        return Finding(finding, "missing", probe.error, "Repair or uninstall the package that brings it.")
    return Finding(finding, "ok", "it can be imported")


def foreign_backend_finding(name: str) -> str:
    """Returns the name of the finding about the backend of another package."""
    return f"backend {name}"


def check_numpy(host: Host) -> Finding:
    """Looks for NumPy, and whether its matrix products are right.

    They are not in every library for every processor: OpenBLAS 0.3.23, which NumPy 1.26 brings, gives wrong ones with
    the long vectors (SVE) of the arm64 processor that QEMU emulates.
    """
    probe = host.python(_NUMPY)
    if not probe.error and probe.values["error"] > _LARGEST_ERROR:
        step = "Set OPENBLAS_CORETYPE=ARMV8 in the environment; corrections of a calibration are useless without it."
        return Finding("NumPy", "warning", f"{probe.values['version']}, whose matrix products are wrong here", step)
    return _library("NumPy", probe, "Install it with: pip install numpy.")


def check_opencv(host: Host) -> Finding:
    """Looks for OpenCV, and whether it reads cameras through GStreamer."""
    probe = host.python(_OPENCV)
    if probe.error:
        step = (
            "Install it with `sudo apt install python3-opencv`, and make the virtual environment with "
            "--system-site-packages."
            if is_jetson(host)
            else "Install it with: pip install opencv-python-headless."
        )
        return _library("OpenCV", probe, step)
    with_gstreamer = re.search(r"GStreamer:\s+YES", probe.values.get("build", "")) is not None
    found = f"{probe.values['version']} {'with' if with_gstreamer else 'without'} GStreamer"
    if with_gstreamer or not is_jetson(host):
        return Finding("OpenCV", "ok", found)
    step = "CSI cameras need GStreamer: remove pip's opencv-python from the environment, so that JetPack's is found."
    return Finding("OpenCV", "warning", found, step)


def _library(name: str, probe: ProbeResult, step: str) -> Finding:
    if not probe.error:
        return Finding(name, "ok", str(probe.values["version"]))
    if "No module named" in probe.error and "'" in probe.error:
        return Finding(name, "missing", f"Python has no module {probe.error.split(chr(39))[1]}", step)
    return Finding(name, "missing", f"it is installed but does not load: {probe.error}", step)


def _cuda_version(number: int) -> str:
    """Turns CUDA's own number into a version.

    >>> _cuda_version(12060)
    '12.6'
    """
    return f"{number // 1000}.{number % 1000 // 10}"


def _numbers(version: str) -> tuple[int, ...]:
    """Returns the leading numbers of a version.

    >>> _numbers("10.3.0.26")
    (10, 3, 0, 26)
    """
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+", maxsplit=1)[0]))
