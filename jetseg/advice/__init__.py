"""Advice: which technique makes this network faster on this device, from measurements of a few minutes."""
