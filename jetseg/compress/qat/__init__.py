"""Quantization-aware training: a Q/DQ file in, the same graph with trained weights and scales out."""
