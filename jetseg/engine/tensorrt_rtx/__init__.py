"""TensorRT-RTX: engines for desktop GPUs, built by NVIDIA's own parser and builder on any machine."""
