"""The realtime loop: sources of frames, stages on their own threads, and sinks that take what comes out."""
