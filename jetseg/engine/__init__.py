"""Engines: one contract, a folder per backend."""
