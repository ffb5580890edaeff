"""A network camera: ffmpeg, or GStreamer for RTSP, serves a road video in real time over the loopback.

It can be killed and hung.
"""

import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

FRAMES_PER_SECOND = 25
_RTSP_SERVER = Path(__file__).with_name("rtsp_server.py")
_RTSP_SECONDS = 15
"""An RTSP stream ends with its file, so it lasts longer than a test."""


def ffmpeg() -> str:
    found = shutil.which("ffmpeg")
    if found is None:
        pytest.skip("needs ffmpeg: apt-get install ffmpeg")
    return found


def rtsp_server() -> list[str]:
    python = shutil.which("python3", path="/usr/bin")
    if python is None or subprocess.run([python, _RTSP_SERVER], check=False, capture_output=True).returncode:
        pytest.skip(
            "needs GStreamer's RTSP server: apt-get install gir1.2-gst-rtsp-server-1.0 "
            "gstreamer1.0-plugins-good gstreamer1.0-plugins-bad"
        )
    return [python, str(_RTSP_SERVER)]


def free_port(kind=socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


FILM_FRAMES = 100
_BITS, _BIT_PIXELS = 7, 40


def number_in(image) -> int:
    """Reads the number of a frame of `road_video` off its picture."""
    squares = image[8 : _BIT_PIXELS - 8, :, 1]
    return sum(
        (squares[:, bit * _BIT_PIXELS + 8 : (bit + 1) * _BIT_PIXELS - 8].mean() > 128) << bit for bit in range(_BITS)
    )


def road_video(folder: Path) -> Path:
    """A drawn road that moves; each of its 100 frames shows its number as seven bright or dark squares."""
    path = folder / "road.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), float(FRAMES_PER_SECOND), (320, 180))
    y, x = np.mgrid[0:180, 0:320]
    for number in range(FILM_FRAMES):
        picture = np.stack([y, (x + 4 * number) % 256, np.full_like(x, 90)], axis=-1)
        for bit in range(_BITS):
            picture[:_BIT_PIXELS, bit * _BIT_PIXELS : (bit + 1) * _BIT_PIXELS] = 255 * (number >> bit & 1)
        writer.write(picture.astype(np.uint8))
    writer.release()
    return path


_H264 = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "10", "-threads", "1"]


class NetworkCamera:
    """Serves a video as MPEG-TS over UDP or HTTP, as motion JPEG over HTTP, or as H.264 over RTSP.

    Over HTTP ffmpeg serves one client and ends with it, so a thread starts it anew until `kill`.
    """

    def __init__(self, video: Path, kind: str, folder: Path):
        self.kind = kind
        self._folder = folder
        self.port = free_port(socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
        scheme = kind if kind in ("udp", "rtsp") else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}" + ("" if kind == "udp" else "/live")
        self.damage = 0.0
        """Share of the packets that reach the viewer as noise; UDP only."""
        self._relay_port = free_port(socket.SOCK_DGRAM)
        self._video = video
        self._process = None
        self._wanted = threading.Event()
        self._keeper = None
        self._relay = None

    def start(self, width=320, height=180):
        """Starts to serve, at any size."""
        command = self._rtsp_command(width, height) if self.kind == "rtsp" else self._command(width, height)
        self._wanted.set()
        self._keeper = threading.Thread(target=self._keep, args=(command,))
        self._keeper.start()
        if self.kind == "udp":
            self._relay = threading.Thread(target=self._pass_on)
            self._relay.start()

    def kill(self):
        """Ends at once and for good, in the middle of whatever it sends."""
        self._wanted.clear()
        while self._keeper is not None and self._keeper.is_alive():
            if self._process is not None:
                self._process.kill()
            self._keeper.join(0.02)
        if self._relay is not None:
            self._relay.join()

    def hang(self):
        self._process.send_signal(signal.SIGSTOP)

    def resume(self):
        self._process.send_signal(signal.SIGCONT)

    def send_garbage(self, packets=400):
        """Sends noise to the viewer, as if it came from the camera."""
        rng = np.random.default_rng(0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(packets):
                sender.sendto(rng.bytes(1316), ("127.0.0.1", self.port))
                time.sleep(0.002)

    def _keep(self, command):
        while self._wanted.is_set():
            with tempfile.TemporaryFile() as log:
                self._process = subprocess.Popen(command, stdout=log, stderr=log)
                if not self._wanted.is_set():
                    self._process.kill()
                self._process.wait()

    def _pass_on(self):
        """Stands between ffmpeg and the viewer, like a bad radio link."""
        rng = np.random.default_rng(0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
            link.bind(("127.0.0.1", self._relay_port))
            link.settimeout(0.1)
            while self._wanted.is_set():
                try:
                    packet = link.recv(4096)
                except TimeoutError:
                    continue
                noise = rng.random() < self.damage
                link.sendto(rng.bytes(len(packet)) if noise else packet, ("127.0.0.1", self.port))

    def _command(self, width, height):
        codec = ["-c:v", "mjpeg", "-f", "mpjpeg"] if self.kind == "mjpeg" else [*_H264, "-f", "mpegts"]
        target = f"udp://127.0.0.1:{self._relay_port}?pkt_size=1316" if self.kind == "udp" else self.url
        listen = [] if self.kind == "udp" else ["-listen", "1"]
        return [ffmpeg(), "-v", "error", "-re", *self._source(width, height), *codec, *listen, target]

    def _rtsp_command(self, width, height):
        server, film = rtsp_server(), self._folder / f"{width}x{height}.mp4"
        command = [ffmpeg(), "-v", "error", "-y", *self._source(width, height), "-t", str(_RTSP_SECONDS), *_H264, film]
        subprocess.run(command, check=True)
        return [*server, str(self.port), str(film)]

    def _source(self, width, height):
        scale = f"scale={width}:{height},fps={FRAMES_PER_SECOND}"
        return ["-stream_loop", "-1", "-i", str(self._video), "-an", "-vf", scale]
