"""Says what a compressed network no longer sees, where, why, and what brings it back."""
