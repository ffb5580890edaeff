"""ONNX files as untrusted data: one graph, sessions, shapes of layers."""
