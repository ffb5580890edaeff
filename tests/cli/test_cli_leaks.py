"""A password in a source's address is in nothing that a run prints, serves or writes."""

import base64
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
from color_network import write_color_network
from network_camera import free_port

CANARY = "c4n4ry"
REFUSED = [
    f"rtsp://admin:{CANARY}@127.0.0.1:9/front",
    f"rtsp://admin:{CANARY}/{CANARY}@127.0.0.1:9/front",
    f"http://admin:{CANARY}@127.0.0.1:9/{CANARY}?pwd={CANARY}",
    f"http://127.0.0.1:9/user=admin&password={CANARY}&channel=1",
    f"http://127.0.0.1:9/{CANARY}\n{CANARY}",
    f"http://admin:{CANARY}@[::bad/",
    f"souphttpsrc location=http://127.0.0.1:9/ user-pw={CANARY} ! fakesink",
    f"admin:{CANARY}@127.0.0.1/front",
    f"synthetic:http://admin:{CANARY}@127.0.0.1/",
    f"csi:http://admin:{CANARY}@127.0.0.1/",
    f"video:rtsp://admin:{CANARY}@127.0.0.1/",
]
VARIABLES = {"OPENCV_FFMPEG_DEBUG": "1", "OPENCV_LOG_LEVEL": "VERBOSE", "OPENCV_FFMPEG_LOGLEVEL": "56"}
"""With which OpenCV and FFmpeg print all that they open."""


class MotionJpeg(BaseHTTPRequestHandler):
    """A camera that wants user name and password."""

    def do_GET(self):
        given = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode()
        if given != f"admin:{CANARY}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace;boundary=frame")
        self.end_headers()
        jpeg = cv2.imencode(".jpg", np.full((96, 128, 3), 90, np.uint8))[1].tobytes()
        with suppress(OSError):
            while not self.server.gone.is_set():
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg))
                self.wfile.write(jpeg + b"\r\n")
                time.sleep(0.03)

    def log_message(self, *arguments):
        pass


def started(network, source, *options, folder):
    program = [sys.executable, "-c", "from jetseg.cli.main import main; main()", "--debug", "run", str(network)]
    return subprocess.Popen(
        [*program, "--source", source, "--threads", "1", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, **VARIABLES, "CAMERA": source},
    )


def page(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    content = connection.getresponse().read()
    connection.close()
    return content.decode()


@pytest.mark.parametrize("source", REFUSED)
def test_no_error_shows_a_password(source, tmp_path, jetseg):
    network = write_color_network(tmp_path)
    code, out, err = jetseg("--debug", "run", network, "--source", source, "--threads", 1, "--json")
    assert code in (2, 3), err
    assert CANARY not in out + err
    assert "Error: " in err


@pytest.mark.long
def test_nothing_that_a_run_gives_out_holds_the_password(tmp_path):
    network, ports, pages = write_color_network(tmp_path), (free_port(), free_port()), []
    with ThreadingHTTPServer(("127.0.0.1", 0), MotionJpeg) as camera:
        camera.gone = threading.Event()
        threading.Thread(target=camera.serve_forever).start()
        source = f"http://admin:{CANARY}@127.0.0.1:{camera.server_port}/{CANARY}/video?token={CANARY}"
        outputs = ["--json", "--log", "log", "--record", "drives", "--output", "a.mp4", "--class-maps", "maps"]
        served = ["--dashboard", str(ports[0]), "--metrics", str(ports[1])]
        with started(network, source, *outputs, *served, folder=tmp_path) as process:
            errors = []
            for line in process.stderr:
                errors.append(line)
                if "Running on" in line:
                    break
            camera.gone.set()
            camera.shutdown()
            camera.server_close()
            for line in process.stderr:
                errors.append(line)
                if "camera-lost" in line:
                    break
            pages += [page(ports[0], path) for path in ("/", "/state", "/past")] + [page(ports[1], "/metrics")]
            process.send_signal(signal.SIGINT)
            out, rest = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    shown = f"http://127.0.0.1:{camera.server_port}/..."
    assert json.loads(out)["source"] == json.loads(pages[1])["title"]["source"] == shown
    assert CANARY not in "".join((out, *errors, rest, *pages))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 4
    for path in files:
        assert CANARY.encode() not in path.read_bytes(), path
