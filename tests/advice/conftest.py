"""A small network on drawn scenes to advise on."""

import pytest

from jetseg.advice.clock import Clock
from jetseg.advice.config import AdviseConfig
from jetseg.advice.stopwatch import Comparison
from jetseg.advice.workbench import Workbench
from jetseg.data.dataset import open_dataset
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest, ModelSpec, Stage
from jetseg.network import open_network

DATA = "synthetic:12"


class StandingStopwatch:
    """Says that each network is as fast as any other, and counts how often it was asked."""

    source = "not measured at all"
    basis = "measured"

    def __init__(self) -> None:
        self.asked = []
        self.in_float = []

    def __call__(self, reference, network, precision, in_float=()):
        self.in_float.append(list(in_float))
        self.asked.append((network.path.name, precision))
        ms = 10.0 if precision == "fp32" else 5.0
        return Comparison(10.0, ms, ms, ms)


@pytest.fixture
def checkpoint(tmp_path):
    """Writes a small network with fresh weights, that was trained with other settings than the default ones."""
    torch = pytest.importorskip("torch")
    from jetseg.models.registry import create_model
    from jetseg.training.checkpoint import save_checkpoint

    classes = open_dataset(DATA).split("val").classes
    torch.manual_seed(0)
    options = {"width": 8}
    manifest = Manifest(
        classes=classes,
        ignore_index=open_dataset(DATA).split("val").ignore_index,
        input=InputSpec(height=64, width=96, color="rgb", scale=1 / 255),
        model=ModelSpec(factory="tiny", options=options),
        stages=(Stage(name="train", settings={"class_weights": "enet", "lr": 0.5, "optimizer": "sgd"}),),
    )
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, create_model("tiny", len(classes), **options), manifest)
    return path


@pytest.fixture
def make_bench(tmp_path):
    """Makes a workbench whose stopwatch measures nothing."""

    def make(network, **settings):
        (tmp_path / "scratch").mkdir(exist_ok=True)
        config = AdviseConfig(**{"frames": 2, **settings})
        opened = open_network(network)
        return Workbench(opened, open_dataset(DATA), config, tmp_path / "scratch", Clock(600.0), StandingStopwatch())

    return make
