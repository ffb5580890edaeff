"""A video file opens no other file and no address, whatever it is called and whatever is in it."""

import os
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from video_files import write_timed

from jetseg.address import SourceAddress
from jetseg.camera.sources import stream
from jetseg.camera.sources.opening import open_source
from jetseg.data import video_reader
from jetseg.data.dataset import open_split
from jetseg.data.video_formats import network_options
from jetseg.data.video_reader import VideoReader
from jetseg.errors import ConfigError, DataError, DeviceError

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{place}\n#EXT-X-ENDLIST\n"
DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>'
    '<AdaptationSet mimeType="video/mp4"><Representation id="0" bandwidth="1" width="48" height="32">'
    "<BaseURL>{place}</BaseURL></Representation></AdaptationSet></Period></MPD>"
)
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
LISTS = {
    "hls": HLS,
    "concat": "ffconcat version 1.0\nfile '{place}'\n",
    "dash": DASH,
    "sdp": SDP,
    "nested concat": "ffconcat version 1.0\nfile 'concat:{place}|{place}'\n",
    "subfile": "ffconcat version 1.0\nfile 'subfile,,start,0,end,0,,:{place}'\n",
    "mov reference": "RTSPtextRTSP://{place}\n",
}


class Server(SimpleHTTPRequestHandler):
    asked: list[str]

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.asked.append(self.path)
        super().do_GET()


@pytest.fixture
def canary(tmp_path):
    (tmp_path / "outside").mkdir()
    path = tmp_path / "outside" / "canary.mp4"
    write_timed(path, [0.0, 0.04, 0.08])
    return path


@pytest.fixture
def server(tmp_path):
    handler = type("Handler", (Server,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path))) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", handler.asked
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("name", ["drive.mp4", "drive.avi", "drive.m3u8", "drive.ffconcat", "drive.ts", "drive.mpd"])
def test_a_list_of_files_is_no_video_whatever_it_is_called(tmp_path, canary, kind, name):
    beside = tmp_path / "canary.mp4"
    beside.write_bytes(canary.read_bytes())
    for place in (f"file://{canary}", str(canary), "canary.mp4", "outside/canary.mp4", f"file:{canary}"):
        path = tmp_path / name
        path.write_text(LISTS[kind].format(place=place))
        for opening in (open_source, lambda text: open_split(f"video:{text}", "all")):
            with pytest.raises(DataError, match=r"is not a video.*only as `playlist:URL`"):
                opening(str(path))


def test_ffmpeg_opens_nothing_beside_the_file(tmp_path, canary):
    """What the system sees: neither the canary nor a socket, for every list."""
    if subprocess.run(["which", "strace"], capture_output=True, check=False).returncode:
        pytest.skip("strace is not installed")
    for number, (kind, text) in enumerate(LISTS.items()):
        (tmp_path / f"{number}.mp4").write_text(text.format(place=f"file://{canary}"))
        assert kind
    program = (
        "import sys\nfrom jetseg.data.video_reader import VideoReader\nfrom jetseg.errors import DataError\n"
        "for path in sys.argv[1:]:\n    try:\n        VideoReader(path)\n    except DataError:\n        pass\n"
    )
    paths = [str(tmp_path / f"{number}.mp4") for number in range(len(LISTS))]
    log = tmp_path / "strace.log"
    command = ["strace", "-f", "-qq", "-e", "trace=openat,open,socket", "-o", str(log), sys.executable, "-c", program]
    subprocess.run([*command, *paths], check=True, env=os.environ)
    seen = log.read_text()
    assert all(f"{number}.mp4" in seen for number in range(len(LISTS)))
    assert "canary" not in seen
    assert "socket(" not in seen


@pytest.mark.parametrize("name", ["drive.mp4", "drive.m3u8"])
def test_a_list_on_a_web_server_reads_no_file_and_no_other_address(tmp_path, canary, server, name):
    address, asked = server
    segment = canary.with_suffix(".ts")
    write_timed(segment, [0.04 * number for number in range(20)])
    for place in (f"file://{canary}", f"{address}/outside/canary.mp4", f"{address}/outside/{segment.name}"):
        for kind in ("hls", "concat", "dash"):
            (tmp_path / name).write_text(LISTS[kind].format(place=place))
            with pytest.raises(DeviceError, match="could not be opened as a video"):
                open_source(f"{address}/{name}")
            with pytest.raises(DataError, match="is not a video"):
                VideoReader(SourceAddress(f"{address}/{name}"))
    assert f"/{name}" in asked
    assert not [path for path in asked if "canary" in path]


def test_a_playlist_that_is_asked_for_reads_addresses_but_no_file(tmp_path, canary, server):
    address, asked = server
    write_timed(tmp_path / "part.ts", [0.04 * number for number in range(20)])
    (tmp_path / "drive.m3u8").write_text(HLS.format(place="part.ts"))
    source = open_source(f"playlist:{address}/drive.m3u8")
    assert source.read() is not None
    source.close()
    (tmp_path / "drive.m3u8").write_text(HLS.format(place=f"file://{canary}"))
    with pytest.raises(DeviceError):
        open_source(f"playlist:{address}/drive.m3u8")
    assert "/part.ts" in asked


@pytest.mark.parametrize(
    "scheme", ["file", "concat:file", "subfile,,start,0,end,9,,:file", "data", "crypto", "cache:http"]
)
def test_what_is_no_address_of_a_network_is_no_stream(canary, scheme):
    with pytest.raises(ConfigError, match="must begin with the name of a protocol"):
        open_source(f"{scheme}://{canary}")


@pytest.mark.parametrize("place", ["/tmp/a.m3u8", "file:///tmp/a.m3u8", "ftp://x/a.m3u8"])
def test_a_playlist_comes_from_a_web_server(place):
    with pytest.raises(ConfigError, match="must come from a web server"):
        open_source(f"playlist:{place}")


def test_a_users_own_options_keep_the_fences(monkeypatch, server, tmp_path):
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;udp")
    with stream._live_options(playlists=False):
        inside = os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"]
    fences = "|".join(f"{key};{value}" for key, value in network_options().items())
    assert inside == f"{fences}|rtsp_transport;udp|{fences}"
    assert os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] == "rtsp_transport;udp"


def test_a_video_of_absurd_frames_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "large.mp4"
    write_timed(path, [0.0, 0.04, 0.08])
    monkeypatch.setattr(video_reader, "MOST_PIXELS", 1000)
    with pytest.raises(DataError, match=r"large\.mp4 has frames of \d+x\d+ pixels, more than"):
        VideoReader(path)
