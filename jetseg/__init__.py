"""jetseg: compress a segmentation network, prove what it lost, run it on a vehicle's camera."""

__version__ = "0.1.0"
