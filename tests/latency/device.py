"""A device that exists nowhere: its latencies follow a law, so that right predictions are known."""

import random

from jetseg.latency.table import LatencyTable, TableDraft
from jetseg.latency.unit import Unit


def law_ms(unit: Unit) -> float:
    """A launch, products at a rate that falls for channels which do not fill blocks of 8, values at another."""
    channels = unit.output[1]
    filled = channels / (-(-channels // 8) * 8)
    return 0.01 + unit.macs / (4e7 * filled) + (unit.read + unit.written) / 4e6


def conv(draw: random.Random) -> Unit:
    """A convolution of a size that segmentation networks have."""
    entering, channels = draw.choice((8, 16, 24, 32, 64, 96)), draw.choice((8, 12, 16, 24, 32, 64, 96))
    size, kernel = draw.choice((16, 24, 32, 48)), draw.choice((1, 1, 3))
    return Unit(
        "Conv",
        "float",
        ((1, entering, size, size),),
        (1, channels, size, size),
        weights=(channels, entering, kernel, kernel),
        fused=draw.choice(((), ("Relu",))),
    )


def network(seed: int, length: int = 12) -> list[Unit]:
    """Returns the convolutions of a network that is drawn."""
    draw = random.Random(seed)
    return [conv(draw) for _ in range(length)]


def whole_ms(units: list[Unit], seed: int, noise: float = 0.04) -> float:
    """Returns the latency of a network: that of its operators, a fixed share more, and what differs each time."""
    return 1.1 * sum(map(law_ms, units)) * random.Random(seed).uniform(1 - noise, 1 + noise)


def table(networks: int = 40, **identity: object) -> LatencyTable:
    """Returns a table of networks 0, 1, ..."""
    known = {"device": "a device", "backend": "onnxruntime", "version": "1.2.3", "precision": "fp32", **identity}
    draft = TableDraft(LatencyTable(**known, units=(), networks=()))
    for seed in range(networks):
        units = network(seed)
        draft.add(f"drawn {seed}", whole_ms(units, seed), [(unit, law_ms(unit)) for unit in units])
    return draft.table()
