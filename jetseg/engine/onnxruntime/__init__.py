"""ONNX Runtime: the CPU backend, and the default wherever there is no GPU."""
