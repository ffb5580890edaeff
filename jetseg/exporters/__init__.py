"""Export of a torch network to ONNX, and proof that both compute the same."""
