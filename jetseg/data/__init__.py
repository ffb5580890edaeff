"""Datasets: what they hold is in `contract`, how a spec is opened in `specs`."""

from jetseg.data.contract import Sample, SegmentationDataset

__all__ = ["Sample", "SegmentationDataset"]
