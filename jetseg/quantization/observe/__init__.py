"""Observers: what activations look like, and which range is chosen for them."""
