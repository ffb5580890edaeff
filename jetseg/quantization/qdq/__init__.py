"""Quantizers in a network: where they stand, what they compute, how they are inserted."""
