"""LiteRT, TensorFlow Lite of old: engines for phones and other processors."""
