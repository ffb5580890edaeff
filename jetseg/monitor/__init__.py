"""Watches a running engine: rate and latency, accuracy against labels."""
