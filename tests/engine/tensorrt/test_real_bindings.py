"""NVIDIA's real Python bindings in four versions, over a library that does nothing: subclassing and enums are real."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from api_names import FOLDERS, uses_in
from test_tensorrt_api import MISSING, VERSIONS

pytestmark = pytest.mark.slow
PROJECT = Path(__file__).parents[3]
PROBE = """
import json, sys
import tensorrt_bindings as trt
sys.modules["tensorrt"] = trt
from jetseg.engine.tensorrt import build
from jetseg.engine.tensorrt.calibrator import has_calibrators, make_calibrator
from jetseg.engine.tensorrt.log import make_log
from jetseg.engine.tensorrt.monitor import make_monitor
from jetseg.errors import ConfigError

def exists(owner, member):
    found = getattr(trt, owner, None)
    return found is not None and (member is None or hasattr(found, member))

uses = json.loads(sys.stdin.read())
told = {"version": trt.__version__, "missing": [use for use in uses if not exists(*use)]}
log = make_log(trt)
log.log(trt.ILogger.ERROR, "bad")
log.log(trt.ILogger.WARNING, "well")
told["log"] = [isinstance(log, trt.ILogger), log.errors]
monitor = make_monitor(trt, lambda: False)
monitor.phase_start("a", None, 2)
told["monitor"] = [isinstance(monitor, trt.IProgressMonitor), monitor.step_complete("a", 0), str(monitor.error)]
told["strongly_typed"] = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
told["uint8"] = str(trt.nptype(trt.DataType.UINT8).__name__)
build.probe_driver = build.load_pycuda = lambda: None
if has_calibrators(trt):
    made = make_calibrator(trt, cache=b"cache", next_frame=lambda: 7)
    told["calibrator"] = [
        isinstance(made, trt.IInt8EntropyCalibrator2) and type(made) is not trt.IInt8EntropyCalibrator2,
        made.get_batch_size(), made.get_batch(["image"]), made.read_calibration_cache().decode(),
        made.get_algorithm().name,
    ]
else:
    try:
        build.check("int8", build.TensorRTOptions(quantization="implicit"))
    except ConfigError as error:
        told["refused"] = str(error)
build.check("int8", build.TensorRTOptions())
try:
    build.check("int8", build.TensorRTOptions(hardware="same-capability"))
except ConfigError as error:
    told["hardware"] = str(error)
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    """Gives a folder with libraries that do nothing under the names that the bindings ask for."""
    source = PROJECT.parent / "shared" / "tensorrt" / "nvstub.c"
    if not source.is_file():
        pytest.skip("the folder with shared data is not beside this checkout")
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no gcc to build the library that does nothing")
    folder = tmp_path_factory.mktemp("stub")
    library = folder / "stub.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    for name in ("nvinfer", "nvonnxparser", "nvinfer_plugin"):
        for major in (10, 11):
            shutil.copy(library, folder / f"lib{name}.so.{major}")
    return folder


def bindings(folder, version):
    """Downloads and unpacks the bindings of a version for this Python."""
    wanted = f"tensorrt-cu12-bindings=={version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", wanted]
    done = subprocess.run([*command, "--dest", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"{wanted} cannot be downloaded for this Python")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder)
    return folder


@pytest.mark.parametrize("version", VERSIONS)
def test_our_classes_and_names_fit_the_real_bindings(stub, tmp_path, version):
    package = bindings(tmp_path, version)
    places = os.pathsep.join([str(package), str(PROJECT)])
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        input=json.dumps(sorted({(use.owner, use.member) for use in uses_in(FOLDERS[0])}, key=str)),
        env={**os.environ, "LD_LIBRARY_PATH": str(stub), "PYTHONPATH": places},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["version"].startswith(version.rsplit(".", 1)[0])
    assert told["log"] == [True, ["bad"]]
    assert told["monitor"] == [True, True, "None"]
    assert told["uint8"] == "uint8"
    assert ("hardware" in told) == version.startswith("10.3.")
    assert {tuple(use) for use in told["missing"]} == MISSING.get(version, set())
    if version.startswith("11"):
        assert told["strongly_typed"] == 1
        assert "has no calibrators" in told["refused"]
    else:
        assert told["strongly_typed"] == 2
        assert told["calibrator"] == [True, 1, [7], "cache", "ENTROPY_CALIBRATION_2"]
