"""What TensorRT takes: rules of Q/DQ networks, calibration caches."""
