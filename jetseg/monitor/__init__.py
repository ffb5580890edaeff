"""Watches a running engine and its machine: rate, latency, accuracy, events, heat; and writes it down."""
