"""What probes work with: the network, frames, a clock, and what was built and measured of it so far."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from jetseg.advice.clock import Clock
from jetseg.advice.config import AdviseConfig
from jetseg.advice.plan import Plan
from jetseg.advice.stopwatch import Comparison, Stopwatch
from jetseg.config import changed
from jetseg.data.dataset import Dataset
from jetseg.errors import ConfigError
from jetseg.evaluation.accuracy import measure_accuracy
from jetseg.evaluation.confusion import Score
from jetseg.manifest import Manifest
from jetseg.network import Network, open_network
from jetseg.onnx.cost import product_macs
from jetseg.onnx.signature import input_shape
from jetseg.shipped import shipped_names
from jetseg.workflows.opening import open_engine

if TYPE_CHECKING:
    from torch import nn


@dataclass
class Workbench:
    """The network that is advised on, and everything about it that several probes need.

    Attributes:
        network: The checkpoint or float ONNX file.
        dataset: Frames with labels.
        config: Settings.
        folder: For files that are gone afterwards.
        clock: How much time is left.
        stopwatch: Compares speeds.
        manifest_file: Where the network's manifest is, if not beside it.
        gate_price: How many times as long as the fastest INT8 engine the one takes that passes the gate, with layers
            in float for it.
        gate_floats: These layers, by output.
    """

    network: Network
    dataset: Dataset
    config: AdviseConfig
    folder: Path
    clock: Clock
    stopwatch: Stopwatch
    manifest_file: Path | None = None
    gate_price: float = 1.0
    gate_floats: tuple[str, ...] = ()
    _models: dict[Plan, Network] = field(default_factory=dict, init=False)
    _mious: dict[Plan, float] = field(default_factory=dict, init=False)
    _speeds: dict[Plan, Comparison] = field(default_factory=dict, init=False)

    @property
    def manifest(self) -> Manifest:
        """Describes the network."""
        return self.network.manifest

    @property
    def has_modules(self) -> bool:
        """Whether the network is a checkpoint, whose layers can be changed."""
        return self.manifest.kind == "checkpoint"

    @cached_property
    def module(self) -> nn.Module:
        """The torch network of a checkpoint; it is not to be changed."""
        from jetseg.training.checkpoint import load_checkpoint

        return load_checkpoint(self.network)[0].requires_grad_(False)

    def model(self, plan: Plan) -> Network:
        """Returns the float ONNX file of a plan, without any training; it is built once."""
        structure = in_float_of(plan)
        if structure not in self._models:
            self._models[structure] = self._build(structure)
        return self._models[structure]

    def miou(self, plan: Plan) -> float:
        """Returns the mIoU of a plan without any training, in float, in percent."""
        structure = in_float_of(plan)
        if structure not in self._mious:
            self._mious[structure] = self.miou_of(self.model(structure))
        return self._mious[structure]

    def drop(self, plan: Plan) -> float:
        """Returns the points of mIoU that a plan loses without any training, in float."""
        return self.miou(Plan()) - self.miou(plan)

    def speed(self, plan: Plan) -> Comparison:
        """Compares the engine of a plan with the network as it is, in float.

        What INT8 leaves in float for the gate in the network as it is, it is taken to leave there in what is made from
        it as well; of another network in its place that is not known.
        """
        plan = untrained(plan)
        if plan not in self._speeds:
            self._speeds[plan] = self._compare(plan)
        return self._speeds[plan]

    def speedup(self, plan: Plan) -> float:
        """Returns how many times as fast as the network as it is, in float, the engine of a plan is."""
        return self.speed(plan).speedup

    def know_speed(self, plan: Plan, speed: Comparison) -> None:
        """Takes note of a comparison that a probe made on its way."""
        self._speeds[untrained(plan)] = speed

    @cached_property
    def teacher(self) -> Network | None:
        """The stronger network that was given, or the best of those that come with jetseg and have the same classes."""
        if self.config.teacher is not None:
            return open_network(self.config.teacher, self.config.teacher_manifest)
        shipped = [open_network(f"{name}.onnx") for name in shipped_names()]
        fitting = [network for network in shipped if network.manifest.classes == self.manifest.classes]
        return max(fitting, key=self.miou_of, default=None)

    def miou_of(self, network: Network, split: str | None = None) -> float:
        """Returns the mIoU of a network of the same classes, of any kind, in percent.

        Args:
            network: Checkpoint, ONNX file or engine.
            split: Split to score it on; that of the settings by default.
        """
        frames = self.dataset.split(split or self.config.eval_split)
        with open_engine(network, threads=self.config.threads) as engine:
            score = measure_accuracy(engine.segment, engine.manifest, frames, frames=self.config.frames)
        return defined(score)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of the network as it is."""
        model = self.model(Plan())
        return sum(product_macs(model.float_graph(), input_shape(model.manifest.input)).values())

    @property
    def float_ms(self) -> float:
        """Latency of the network as it is, in float, in milliseconds."""
        return self.speed(Plan()).reference_ms

    def _compare(self, plan: Plan) -> Comparison:
        reference, network = self.model(Plan()), self.model(plan)
        if plan.precision != "int8" or plan.instead is not None:
            return self.stopwatch(reference, network, plan.precision)
        if plan.energy is None:  # the same nodes, by the same names
            there = network.float_graph().producer
            return self.stopwatch(
                reference, network, plan.precision, [name for name in self.gate_floats if name in there]
            )
        found = self.stopwatch(reference, network, plan.precision).slowed(self.gate_price)
        in_float = self.speed(in_float_of(plan))  # which a build hands over where 8 bits are slower
        return found if found.speedup >= in_float.speedup else in_float

    def _build(self, plan: Plan) -> Network:
        if plan.instead in shipped_names():
            return open_network(f"{plan.instead}.onnx")
        if plan.instead is None and not self.has_modules:
            if plan == Plan():
                return self.network
            raise ConfigError(f"{plan} needs a checkpoint, and {self.network.path.name} is an ONNX file.")
        from jetseg.advice.structure import export_plan

        return export_plan(self, plan, self.folder / f"{len(self._models)}.onnx")

    def sized(self, plan: Plan) -> Manifest:
        """Returns the manifest of a plan's float network: normalized input of its size, logits."""
        height, width = plan.size or (self.manifest.input.height, self.manifest.input.width)
        spec = changed(self.manifest.input, kind="normalized", name=None, height=height, width=width)
        return self.manifest.changed(input=spec).with_output(kind="logits")


def in_float_of(plan: Plan) -> Plan:
    """Returns the float network that the engine of a plan is built from, before any training."""
    return replace(untrained(plan), precision="fp32")


def untrained(plan: Plan) -> Plan:
    """Returns a plan without what changes weights only, and neither layers nor zeros."""
    return replace(plan, distilled=False, qat=False)


def defined(score: Score) -> float:
    """Returns a score's mIoU.

    Raises:
        ConfigError: No class occurs in the frames.
    """
    if score.miou is None:
        raise ConfigError("In these frames no class occurs, so accuracy means nothing.", "Give more `frames`.")
    return score.miou
