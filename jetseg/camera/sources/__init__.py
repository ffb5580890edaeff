"""Sources of frames: cameras, streams, files, datasets."""
