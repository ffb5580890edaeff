import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from machines import ORIN_FILES, machine, orin

from jetseg.cli.main import main
from jetseg.doctor.examination import CHECKS, examine
from jetseg.doctor.finding import Finding
from jetseg.doctor.host import CommandResult, Host, run_command
from jetseg.registry import BACKENDS


def findings(host: Host) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(host).findings}


def test_an_orin_where_all_is_well(tmp_path):
    host = orin(tmp_path)
    found = findings(host)
    assert {finding.verdict for finding in found.values()} == {"ok"}
    assert all(finding.next_step == "" for finding in found.values())
    assert found["board"].found == "NVIDIA Jetson Orin Nano Developer Kit, target orin-nano-8gb-super"
    assert found["L4T and JetPack"].found == "L4T 36.4.3, JetPack 6.2+b77"
    assert found["CUDA driver"].found == "for CUDA 12.6; Orin, compute capability 8.7"
    assert found["cameras"].found == "/dev/video0 imx219"
    assert examine(host).lacking == {"onnxruntime": (), "litert": (), "tensorrt": ()}


def test_an_empty_machine_lacks_things_and_says_what_to_do(tmp_path):
    host = machine(tmp_path, {}, {})
    found = findings(host)
    assert len(found) == len(CHECKS)
    assert found["TensorRT"] == Finding(
        "TensorRT",
        "missing",
        "Python has no module tensorrt",
        "Not needed to prepare networks; it comes with JetPack on the vehicle.",
    )
    assert all(finding.next_step for finding in found.values() if finding.verdict != "ok")
    assert examine(host).lacking["tensorrt"] == ("CUDA driver", "TensorRT", "pycuda", "OpenCV")


NO_GSTREAMER = {"version": "4.11.0", "build": "    GStreamer:                   NO\n"}
SLOW_CLOCK = {"sys/devices/system/cpu/cpufreq/policy0/scaling_min_freq": "115200\n"}


@pytest.mark.parametrize(
    ("name", "files", "answers", "verdict", "words"),
    [
        ("TensorRT", {}, {"import json, tensorrt": {"version": "8.5.2"}}, "warning", "10.3"),
        ("TensorRT", {}, {"import json, tensorrt": CommandResult(-11)}, "missing", "signal 11"),
        ("TensorRT", {}, {"import json, tensorrt": CommandResult(1, "", "ImportError: libnvinfer.so.10: no")}, "missing", "does not load"),
        ("ONNX Runtime", {}, {"import json, onnxruntime": CommandResult(-11)}, "missing", "onnxruntime<1.27"),
        ("NumPy", {}, {"import json, numpy": {"version": "1.26.4", "error": 2.0}}, "warning", "OPENBLAS_CORETYPE"),
        ("OpenCV", {}, {"import json, cv2": NO_GSTREAMER}, "warning", "CSI cameras need GStreamer"),
        ("CUDA driver", {}, {"libcuda.so.1": {"status": 100, "version": 12060, "count": 0}}, "warning", "no GPU (status 100)"),
        ("CUDA driver", {}, {"libcuda.so.1": CommandResult(1, "", "OSError: libcuda.so.1: no")}, "missing", "nvidia runtime"),
        ("power mode", {}, {"nvpmodel": "NV Power Mode: 15W\n0\n"}, "warning", "15W"),
        ("power mode", {}, {"nvpmodel": CommandResult(None)}, "missing", "outside the container"),
        ("clocks", SLOW_CLOCK, {}, "warning", "jetson_clocks"),
        ("memory", {"proc/meminfo": "MemTotal: 7800000 kB\nMemAvailable: 900000 kB\n"}, {}, "warning", "desktop"),
        ("container", {".dockerenv": ""}, {}, "ok", "inside a container"),
        ("container", {"proc/1/cgroup": "0::/docker/abc\n"}, {}, "ok", "inside a container"),
        ("L4T and JetPack", {"etc/nv_tegra_release": "# R35 (release), REVISION: 6.0, GCID: 1\n"}, {}, "warning", "older than 10.3"),
        ("cameras", {"tmp/argus_socket": ""}, {}, "ok", "CSI camera service"),
    ],
)  # fmt: skip
def test_what_hurts_is_named(tmp_path, name, files, answers, verdict, words):
    finding = findings(orin(tmp_path, files, answers))[name]
    assert finding.verdict == verdict
    assert words in f"{finding.found} {finding.next_step}"


def test_a_container_on_a_jetson_without_the_release_file(tmp_path):
    files = {"proc/device-tree/model": ORIN_FILES["proc/device-tree/model"]}
    finding = findings(machine(tmp_path, files, {}))["L4T and JetPack"]
    assert (finding.verdict, "mount it" in finding.next_step) == ("missing", True)


def test_a_full_disk(tmp_path):
    finding = findings(machine(tmp_path, {}, {}, free_bytes=10e6))["disk"]
    assert (finding.verdict, finding.found.split(" in ")[0]) == ("warning", "0.0 GB free")


def test_a_driver_without_a_gpu_is_no_backend(tmp_path):
    host = orin(tmp_path, answers={"libcuda.so.1": {"status": 100, "version": 12060, "count": 0}})
    assert examine(host).lacking["tensorrt"] == ("CUDA driver",)


def test_a_check_that_fails_does_not_hide_the_others(tmp_path):
    def broken(arguments):
        raise RuntimeError("no shell")

    found = findings(Host(root=tmp_path, folder=tmp_path, command=broken))
    assert len(found) == len(CHECKS)
    assert found["tensorrt"].found == "could not be examined: RuntimeError: no shell"
    assert found["disk"].verdict == "ok"


def test_commands_that_do_not_exist_or_fail():
    assert run_command(["/no/such/program"]).code is None
    assert run_command([sys.executable, "-c", "import sys; print('x'); sys.exit(3)"]) == CommandResult(3, "x\n")


def test_this_machine_is_examined_and_the_exit_code_is_0():
    code = "import sys; from jetseg.cli.main import main; sys.argv = ['jetseg', 'doctor', '--json']; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert len(content["findings"]) == len(CHECKS)
    assert set(content["backends"]) == {"onnxruntime", "litert", "tensorrt"}
    assert content["backends"]["onnxruntime"]["ready"]


@pytest.mark.parametrize(
    ("backend", "code", "words"), [("onnxruntime", 0, ""), ("tensorflow", 2, "onnxruntime, litert, tensorrt")]
)
def test_a_health_check_asks_for_a_backend(monkeypatch, capsys, backend, code, words):
    monkeypatch.setattr(sys, "argv", ["jetseg", "doctor", "--need", backend])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == code
    assert words in capsys.readouterr().err


def test_a_health_check_fails_where_something_is_missing(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("jetseg.doctor.host.Host", lambda: machine(tmp_path, {}, {}))
    monkeypatch.setattr(sys, "argv", ["jetseg", "doctor", "--need", "tensorrt"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 3
    assert "tensorrt cannot run here: CUDA driver, TensorRT, pycuda, OpenCV missing." in capsys.readouterr().err


def test_the_backend_of_another_package_is_examined_in_a_process_of_its_own(tmp_path, monkeypatch):
    registry = SimpleNamespace(own=BACKENDS.own, names=lambda: (*BACKENDS.own, "npu"))
    monkeypatch.setattr("jetseg.doctor.examination.BACKENDS", registry)
    well = orin(tmp_path, answers={"find_backend('npu')": {}})
    assert findings(well)["backend npu"].verdict == "ok"
    assert examine(well).lacking["npu"] == ()
    crashing = orin(tmp_path, answers={"find_backend('npu')": CommandResult(-11)})
    assert findings(crashing)["backend npu"].verdict == "missing"
    assert examine(crashing).lacking["npu"] == ("backend npu",)
