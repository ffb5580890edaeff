"""Synthetic road scenes: a small street in three dimensions, drawn with exact labels by the same geometry.

From the bottom: `style` (street, light, camera), `textures`, `things`, `world` and `traffic` (what is where),
`camera` and `canvas` (from meters to pixels), the painters `sky`, `ground`, `scenery`, `cars` and `people`,
`lens`, `drive`, and `roads` (the dataset).
"""

from jetseg.data.synthetic.classes import CLASSES
from jetseg.data.synthetic.drive import SyntheticDrive
from jetseg.data.synthetic.roads import SyntheticSplit

__all__ = ["CLASSES", "SyntheticDrive", "SyntheticSplit"]
