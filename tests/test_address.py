"""Nothing of an address that may be a password is ever text, except where the connection is opened."""

import copy
import json
import pickle
import traceback
from dataclasses import asdict, dataclass
from urllib.parse import quote

import pytest
from pydantic import BaseModel

from jetseg.address import SourceAddress
from jetseg.errors import ConfigError, DataError, DeviceError
from jetseg.registry import SOURCES

CANARY = "c4n4ry"
SHOWN = {
    f"rtsp://admin:{CANARY}@10.0.0.7/front": "rtsp://10.0.0.7/...",
    f"rtsp://{CANARY}@10.0.0.7:8554": "rtsp://10.0.0.7:8554",
    f"rtsp://admin:{CANARY}@{CANARY}@10.0.0.7/front": "rtsp://10.0.0.7/...",
    f"rtsp://admin:{CANARY}/{CANARY}@10.0.0.7/front": "rtsp://...",
    f"rtsp://{CANARY}:12/34@10.0.0.7/front": "rtsp://...",
    f"rtsp://{CANARY}:12/34%4010.0.0.7/front": "rtsp://...",
    f"rtsp://admin:{CANARY}?{CANARY}#{CANARY}@10.0.0.7": "rtsp://...",
    f"rtsp://admin:{CANARY}%40host": "rtsp://...",
    f"rtsp://10.0.0.7:554/user=admin&password={CANARY}&channel=1": "rtsp://10.0.0.7:554/...",
    f"rtsp://10.0.0.7/user=admin&password=x@{CANARY}": "rtsp://...",
    f"http://10.0.0.7/video?user=admin&pwd={CANARY}": "http://10.0.0.7/...",
    f"https://cdn.example.com/a.m3u8?token={CANARY}&Signature={CANARY}": "https://cdn.example.com/...",
    f"rtmp://live.example.com/app/{CANARY}": "rtmp://live.example.com/...",
    f"rtsps://[fe80::1]:7441/{CANARY}?enableSrtp": "rtsps://[fe80::1]:7441/...",
    f"http://{CANARY}:\x1b[2J@10.0.0.7\n/": "http://...",
    f"rtspsrc location=rtsp://10.0.0.7/ user-id={CANARY} user-pw={CANARY} ! appsink": "...",
    f"souphttpsrc location=x user-pw={CANARY}": "...",
    f"async:cache:http://u:{CANARY}@10.0.0.7/": "...",
    f"admin:{CANARY}@10.0.0.7/front": "...",
    f"folder:rtsp://admin:{CANARY}@10.0.0.7/": "...",
    "udp://@239.0.0.1:5000": "udp://239.0.0.1:5000",
    "http://10.0.0.7:80/": "http://10.0.0.7:80/",
    "0": "0",
    "/dev/video2": "/dev/video2",
    "csi:0?width=1920&height=1080": "csi:0?width=1920&height=1080",
    "camvid:/data/cam vid": "camvid:/data/cam vid",
    "~nobody-of-this-name/drive.mp4": "~nobody-of-this-name/drive.mp4",
    "x" * 5000: "x" * 5000,
}


class Kept(BaseModel):
    source: SourceAddress


@dataclass(frozen=True)
class Held:
    source: SourceAddress


@pytest.mark.parametrize("text", SHOWN)
def test_every_text_form_shows_only_what_is_safe(text):
    address, shown = SourceAddress(text), SHOWN[text]
    kept = Kept(source=address)
    assert {str(address), f"{address}", format(address, "s"), "".join(map(str, [address]))} == {shown}
    assert json.loads(json.dumps(address, default=str)) == shown
    assert str(kept.model_dump()["source"]) == json.loads(kept.model_dump_json())["source"] == shown
    for form in (
        repr(address),
        ascii(address),
        repr(kept),
        str(kept),
        repr(Held(address)),
        repr(asdict(Held(address))),
    ):
        assert CANARY not in form
    assert address.reveal() == copy.deepcopy(address).reveal() == text
    with pytest.raises(TypeError):
        pickle.dumps(address)


def test_a_file_that_is_there_is_shown(tmp_path):
    path = tmp_path / "a=b@c&d.mp4"
    path.touch()
    assert str(SourceAddress(str(path))) == str(path)


@pytest.mark.parametrize("text", [text for text in SHOWN if CANARY in text])
@pytest.mark.parametrize(
    "way", [str, quote, lambda text: quote(text, safe=""), repr, lambda text: text.partition("://")[2]]
)
def test_foreign_texts_are_scrubbed(text, way):
    address = SourceAddress(text)
    assert CANARY not in address.scrub(f"[tcp @ 0x55] Failed to open '{way(text)}' with {CANARY}: refused")


@pytest.mark.parametrize("error", [RuntimeError, DataError, lambda text: OSError(111, text, text), UnicodeError])
def test_errors_of_others_are_not_repeated(error):
    address = SourceAddress(f"rtsp://admin:{CANARY}@10.0.0.7/front")
    try:
        with address.concealing():
            try:
                raise ValueError(address.reveal())
            except ValueError as cause:
                raise error(f"cannot open {address.reveal()}") from cause
    except (DeviceError, DataError) as caught:
        told = "".join(traceback.format_exception(caught)) + repr(caught)
        assert CANARY not in told
        assert "10.0.0.7" in told or "..." in told
    else:
        pytest.fail("the error was swallowed")


def test_addresses_stand_in_the_environment_or_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("FRONT", "rtsp://u:p@10.0.0.7/front")
    (tmp_path / "front").write_text("rtsp://u:p@10.0.0.7/front\n")
    for text in ("env:FRONT", f"@{tmp_path / 'front'}"):
        assert SourceAddress.given(text).reveal() == "rtsp://u:p@10.0.0.7/front"


@pytest.mark.parametrize("text", ["", "  ", "env:NOT_SET", "@/nonexistent/file", "@/", "x" * 9000])
def test_no_address_is_refused_in_a_sentence(text):
    with pytest.raises(ConfigError):
        SourceAddress.given(text)


def test_a_place_of_another_package_is_shown_while_it_can_hide_nothing(monkeypatch):
    monkeypatch.setattr(type(SOURCES), "__contains__", lambda registry, name: registry is SOURCES and name == "radar")
    shown = [str(SourceAddress(f"radar:{place}")) for place in ("", "front", f"u:{CANARY}@10.0.0.7", f"x?key={CANARY}")]
    assert shown == ["radar:", "radar:front", "radar:...", "radar:..."]
