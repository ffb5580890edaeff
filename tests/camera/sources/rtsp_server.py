"""Serves an H.264 video over RTSP in real time, as a network camera does: rtsp_server.py PORT FILE.mp4.

A script of its own, for the Python that has GStreamer's bindings, which is the system's. Without arguments it only
tells by its exit code whether they are there.
"""

import sys

ELEMENTS = "qtdemux", "h264parse", "rtph264pay"


def main():
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    Gst.init(None)
    missing = [name for name in ELEMENTS if Gst.ElementFactory.find(name) is None]
    if missing or len(sys.argv) == 1:
        sys.exit(", ".join(missing) or 0)
    port, video = sys.argv[1:]
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f'( filesrc location="{video}" ! qtdemux ! h264parse config-interval=-1 ! rtph264pay name=pay0 )'
    )
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
