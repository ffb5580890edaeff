"""The realtime loop: sources, stages on their own threads, overlay and sinks."""
