"""Pushes frames from standard input into GStreamer: a script of its own, for the Python that has its bindings.

That is the system's as a rule, and not the one of a virtual environment, so nothing of jetseg is imported here.

    child.py check PIPELINE             whether GStreamer can make it; says on stderr why not
    child.py rtsp WIDTH HEIGHT RATE HOST PORT PIPELINE
    child.py pipeline WIDTH HEIGHT RATE PIPELINE

A frame is its age in seconds (float64) when it was written, and BGR pixels. Buffers carry the time of capture, so
that an RTSP server's sender reports tell it.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
from typing import Any

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402

HEADER = struct.Struct("<d")
EOS_SECONDS = 5


def main() -> None:
    """Does what the arguments say."""
    Gst.init(None)
    mode, *arguments = sys.argv[1:]
    if mode == "check":
        find_source(parse(arguments[0]))
        return
    width, height, rate, *rest = arguments
    caps = f"video/x-raw,format=BGR,width={width},height={height},framerate={rate}"
    frames = Frames(int(width) * int(height) * 3, caps)
    loop = GLib.MainLoop()
    serve(frames, *rest) if mode == "rtsp" else play(frames, *rest)
    threading.Thread(target=frames.read, args=(loop,), daemon=True).start()
    loop.run()
    frames.end()


def parse(text: str) -> Any:
    """Makes a pipeline, or ends with GStreamer's reason."""
    try:
        return Gst.parse_launch(text)
    except GLib.Error as error:
        sys.exit(error.message)


def find_source(pipeline: Any) -> Any:
    """Returns the first appsrc, or ends."""
    elements = pipeline.iterate_recurse() if isinstance(pipeline, Gst.Bin) else None
    while elements is not None:
        result, element = elements.next()
        if result != Gst.IteratorResult.OK:
            break
        if element.get_factory().get_name() == "appsrc":
            return element
    sys.exit("it has no appsrc, which takes the frames")


class Frames:
    """Gives what comes on standard input to each source that plays."""

    def __init__(self, size: int, caps: str) -> None:
        self.size, self.caps = size, caps
        self.sources: list[Any] = []
        self.pipeline: Any = None
        self.server: Any = None

    def add(self, source: Any) -> None:
        """Feeds one more appsrc."""
        source.set_property("caps", Gst.Caps.from_string(self.caps))
        source.set_property("is-live", True)
        source.set_property("format", Gst.Format.TIME)
        source.set_property("block", False)
        source.set_property("max-buffers", 2)
        source.set_property("leaky-type", 2)  # who is slow gets the newest frames
        self.sources.append(source)

    def read(self, loop: Any) -> None:
        """Reads frames until there are no more, and ends the loop then."""
        stream = sys.stdin.buffer
        while len(frame := stream.read(HEADER.size + self.size)) == HEADER.size + self.size:
            for source in list(self.sources):
                self.push(source, HEADER.unpack_from(frame)[0], frame[HEADER.size :])
        loop.quit()

    def push(self, source: Any, age: float, pixels: bytes) -> None:
        """Gives a frame to a source."""
        clock = source.get_clock()
        if clock is None:  # not playing yet
            return
        buffer = Gst.Buffer.new_wrapped(pixels)
        buffer.pts = max(0, clock.get_time() - source.get_base_time() - int(age * Gst.SECOND))
        if source.emit("push-buffer", buffer) in (Gst.FlowReturn.EOS, Gst.FlowReturn.FLUSHING):
            self.sources.remove(source)  # its last viewer has left

    def end(self) -> None:
        """Lets a pipeline finish what it writes."""
        if self.pipeline is not None:
            for source in self.sources:
                source.emit("end-of-stream")
            bus = self.pipeline.get_bus()
            bus.timed_pop_filtered(EOS_SECONDS * Gst.SECOND, Gst.MessageType.EOS | Gst.MessageType.ERROR)
            self.pipeline.set_state(Gst.State.NULL)


def serve(frames: Frames, host: str, port: str, pipeline: str) -> None:
    """Starts an RTSP server, whose viewers share one encoder."""
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GstRtspServer

    def configure(_: Any, media: Any) -> None:
        frames.add(find_source(media.get_element()))

    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {pipeline} )")
    factory.set_shared(True)
    factory.set_latency(0)
    factory.connect("media-configure", configure)
    server = GstRtspServer.RTSPServer()
    server.set_address(host)
    server.set_service(port)
    server.get_mount_points().add_factory("/live", factory)
    if not server.attach(None):
        sys.exit(f"port {port} of {host} cannot be bound")
    frames.server = server  # or it would be collected


def play(frames: Frames, pipeline: str) -> None:
    """Starts a pipeline."""

    def fail(_: Any, message: Any) -> None:
        print(message.parse_error()[0].message, file=sys.stderr, flush=True)
        os._exit(1)

    frames.pipeline = parse(pipeline)
    frames.add(find_source(frames.pipeline))
    bus = frames.pipeline.get_bus()
    bus.add_signal_watch()
    bus.connect("message::error", fail)
    frames.pipeline.set_state(Gst.State.PLAYING)


if __name__ == "__main__":
    main()
