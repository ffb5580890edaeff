"""Every name of TensorRT that our source uses exists in NVIDIA's versions, and the double has no name of its own."""

import json

import pytest
from api_names import FOLDERS, Use, uses_in, uses_of
from tensorrt_double import Double

VERSIONS = ("10.3.0", "10.13.3.9", "10.16.1.11", "11.4.0.106")
ONLY_BEFORE_11 = {
    ("IInt8EntropyCalibrator2", None),
    *(("IInt8EntropyCalibrator2", name) for name in ("get_batch", "get_batch_size")),
    *(("IInt8EntropyCalibrator2", name) for name in ("read_calibration_cache", "write_calibration_cache")),
    ("BuilderFlag", "INT8"),
    ("BuilderFlag", "FP16"),
    ("IBuilderConfig", "int8_calibrator"),
}
"""Used for implicit quantization and for the DLA of version 10 alone, which `check` refuses on 11 or which are not
reached there."""
ONLY_AFTER_10_3 = {("HardwareCompatibilityLevel", "SAME_COMPUTE_CAPABILITY")}
"""`check` refuses the option on 10.3."""
MISSING = {"10.3.0": ONLY_AFTER_10_3, "11.4.0.106": ONLY_BEFORE_11}
ONLY_RTX = {
    ("ComputeCapability", None),
    ("IBuilderConfig", "num_compute_capabilities"),
    ("IBuilderConfig", "set_compute_capability"),
}
TENSORRT, RTX = FOLDERS


def table(shared_dir, version):
    return json.loads((shared_dir / "tensorrt" / f"api-{version}.json").read_text())


def lacks(api, use):
    entry = api.get(use.owner)
    return entry is None or (use.member is not None and use.member not in entry.get("members", {}))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_exists_in_the_versions_that_reach_it(shared_dir, version):
    api = table(shared_dir, version)
    found = uses_in(TENSORRT)
    assert len(found) > 50
    missing = {(use.owner, use.member) for use in found if lacks(api, use)}
    assert missing == MISSING.get(version, set())


def test_every_name_exists_in_the_installed_rtx():
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (extra rtx)")
    shared_modules = {"plan.py", "log.py", "monitor.py", "problems.py"}
    found = uses_in(RTX) | {use for use in uses_in(TENSORRT) if use.file in shared_modules}
    assert {(use.owner, use.member) for use in uses_in(RTX)} >= ONLY_RTX
    for use in found:
        assert hasattr(trt, use.owner), use
        assert use.member is None or hasattr(getattr(trt, use.owner), use.member), use


def test_a_typo_would_be_found():
    source = """
class Log(trt.ILogger):
    def lgo(self): ...
builder = trt.Bilder(log)
builder.create_netwrok(0)
trt.BuilderFlag.TF23
self._engine.get_tensor_nmae(0)
hasattr(trt, "IInt8Calibratr")
"""
    found = set(uses_of("x.py", source))
    assert found >= {
        Use("x.py", "ILogger", "lgo"),
        Use("x.py", "Bilder", None),
        Use("x.py", "Builder", "create_netwrok"),
        Use("x.py", "BuilderFlag", "TF23"),
        Use("x.py", "ICudaEngine", "get_tensor_nmae"),
        Use("x.py", "IInt8Calibratr", None),
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_the_double_has_no_name_that_tensorrt_lacks(shared_dir, version):
    api = table(shared_dir, version)
    trt = Double(version).trt
    names = {name for name in vars(trt) if not name.startswith("_")}
    assert names - set(api) == set()
    assert len(names) > 15
    for name in names:
        members = {member for member in vars(getattr(trt, name)) if not member.startswith("_")}
        if api[name]["kind"] == "enum":
            members = set(getattr(trt, name).__members__)
        assert members - set(api[name].get("members", {})) == set(), name


@pytest.mark.parametrize("version", VERSIONS)
def test_the_double_has_every_name_that_we_use(version):
    trt = Double(version).trt
    for use in uses_in(TENSORRT):
        if (use.owner, use.member) in ONLY_BEFORE_11 | ONLY_AFTER_10_3:
            continue
        assert hasattr(trt, use.owner), use
        interface = use.owner in ("ILogger", "IProfiler", "IProgressMonitor")  # these we implement ourselves
        assert use.member is None or interface or hasattr(getattr(trt, use.owner), use.member), use
