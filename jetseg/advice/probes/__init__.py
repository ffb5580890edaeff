"""What is tried: one technique per file; see `jetseg.advice.probe`."""
