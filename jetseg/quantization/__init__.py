"""Calibration: watch a network's activations, choose ranges, write them down, quantize with them."""
