"""TensorRT: engines for NVIDIA GPUs, built on the device that runs them."""
