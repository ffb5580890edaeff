import pytest

from jetseg.camera.sources.csi import CsiCamera, csi_pipeline, parse_csi
from jetseg.camera.sources.opening import open_source
from jetseg.errors import ConfigError, DeviceError


def elements(pipeline):
    return [part.strip().split()[0] for part in pipeline.split(" ! ")]


def test_csi_pipeline_keeps_only_the_newest_frame():
    pipeline = csi_pipeline(CsiCamera(1, width=1920, height=1080, fps=60))
    assert pipeline.startswith("nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM), width=1920, height=1080, ")
    assert "framerate=60/1" in pipeline
    assert "queue leaky=downstream max-size-buffers=1" in pipeline
    assert pipeline.endswith("format=BGR ! appsink max-buffers=1 drop=true sync=false")
    assert "nvvidconv" in elements(pipeline)


def test_csi_spec():
    assert parse_csi("0") == CsiCamera(0, 1280, 720, 30)
    assert parse_csi("2?width=640&height=480&fps=15") == CsiCamera(2, 640, 480, 15)


@pytest.mark.parametrize(
    "spec", ["csi:", "csi:a", "csi:0?depth=3", "csi:0?width=-1", "csi:0?fps=", "csi:0?fps=0", "csi:0x"]
)
def test_other_csi_specs_are_refused(spec):
    with pytest.raises(ConfigError, match="is not a CSI camera"):
        open_source(spec)


def test_csi_without_gstreamer_says_what_is_missing(monkeypatch):
    monkeypatch.setattr("jetseg.camera.sources.csi.has_gstreamer", lambda: False)
    with pytest.raises(DeviceError, match="csi:0 needs an OpenCV with GStreamer"):
        open_source("csi:0")
