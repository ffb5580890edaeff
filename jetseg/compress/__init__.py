"""Compression of a trained network: pruning and quantization-aware training."""
