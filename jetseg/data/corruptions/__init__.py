"""Frames as bad weather, bad light and a bad camera would give them: ten corruptions of severity 1 to 5."""

from jetseg.data.corruptions.applying import SEVERITIES, Corruption, corrupt, corruption_names

__all__ = ["SEVERITIES", "Corruption", "corrupt", "corruption_names"]
