import pytest

from jetseg.camera.sources.opening import open_source
from jetseg.camera.sources.stream import stream_pipeline
from jetseg.errors import ConfigError, DeviceError


def elements(pipeline):
    return [part.strip().split()[0] for part in pipeline.split(" ! ")]


def test_stream_pipeline_decodes_on_the_device():
    pipeline = stream_pipeline("rtsp://admin:pass@10.0.0.7/front?channel=1&subtype=0")
    assert elements(pipeline)[:3] == ["rtspsrc", "parsebin", "nvv4l2decoder"]
    assert 'location="rtsp://admin:pass@10.0.0.7/front?channel=1&subtype=0"' in pipeline
    assert pipeline.endswith("appsink max-buffers=1 drop=true sync=false")


@pytest.mark.parametrize("url", ['rtsp://x/" ! filesink location=/etc/passwd', "rtsp://x/\\", "rtsp://x/\n"])
def test_an_address_cannot_become_part_of_the_pipeline(url):
    with pytest.raises(ConfigError, match="quotation mark"):
        stream_pipeline(url)


def test_the_error_of_a_stream_shows_no_password():
    with pytest.raises(DeviceError) as caught:
        open_source("rtsp://admin:secret@127.0.0.1:9/front")
    assert "secret" not in str(caught.value)
