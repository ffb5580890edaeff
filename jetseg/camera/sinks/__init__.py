"""Where processed frames go: windows, videos, class maps for other processes."""
