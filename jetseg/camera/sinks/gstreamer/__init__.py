"""Video out through GStreamer, in a process of its own: an RTSP server, or a pipeline of the user's."""
