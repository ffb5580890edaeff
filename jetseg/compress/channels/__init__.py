"""Which channels of a network can only be removed together, found by following every channel through its operators."""
