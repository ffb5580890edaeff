"""What brings back what a smaller network lost: proposed as a command, and tried if that is asked for."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from jetseg.data.contract import Split
from jetseg.data.dataset import Dataset
from jetseg.engine.backend import DEFAULT_BACKEND
from jetseg.engine.engine import Engine
from jetseg.errors import JetsegError
from jetseg.evaluation.accuracy import measure_accuracy
from jetseg.evaluation.benchmark import benchmark, inference_on_noise
from jetseg.evaluation.learning import LEAST_FRAMES
from jetseg.explanation.causes.cause import Effects
from jetseg.explanation.causes.quantizers import least_repair
from jetseg.explanation.causes.search import graph_of, worst_frames
from jetseg.explanation.causes.trials import Trials
from jetseg.explanation.config import ExplainConfig
from jetseg.explanation.exemplars import hurt_frames
from jetseg.explanation.findings import Finding
from jetseg.explanation.observe import Observation
from jetseg.explanation.repair import Repair
from jetseg.network import Network
from jetseg.report.rows import Entry
from jetseg.storage import scratch_folder
from jetseg.workflows.building import build_engine
from jetseg.workflows.exporting import export
from jetseg.workflows.making import as_before, as_options, build_settings, prune_settings, ranges_of, train_settings
from jetseg.workflows.opening import open_engine
from jetseg.workflows.pruning import prune

_WANTED = 0.5
"""Share of a loss that the least repair brings back."""
_EVERYTHING: dict[str, Any] = {"max_drop": 100.0, "max_class_drop": 100.0, "min_agreement": 0.0}
_WANTED_IN_TRIALS = (0.5, 0.75, 0.95)
"""Shares that are to come back on the few frames of the experiments, until enough comes back on all frames."""
_MOST_TRIES = 3
_NAMED = 5
Make = Callable[[Path], Network | Path]
"""Makes a repaired network in a folder."""
Candidate = tuple[Repair, Make | None]
"""A repair, and what makes it; None where that is not to be done."""


def _helps(repair: Repair) -> bool:
    """Tells whether a repair brings something back: where it was tried by what it did, else by the experiment."""
    return ((repair.expected if repair.recovered is None else repair.recovered) or 0.0) > 0


@dataclass(frozen=True)
class Repairs:
    """Finds repairs.

    Attributes:
        dataset: The data.
        split: The frames that losses were measured on.
        config: Whether to try repairs.
    """

    dataset: Dataset
    split: Split
    config: ExplainConfig

    def find(
        self, parent: Entry, child: Entry, finding: Finding, effects: Effects | None, seen: Observation, number: int
    ) -> Repair | None:
        """Returns the least change that brings a loss back; None where there is none to propose.

        Args:
            parent: The parent.
            child: The child.
            finding: The loss.
            effects: What is known about its causes.
            seen: What was counted.
            number: Position of the child among the children.
        """
        cause = finding.cause
        if finding.kind == "calibration":
            return self._temperature(child, finding, seen, number)
        if cause is None or effects is None:
            return self._train(finding, seen) if finding.kind in ("class", "miou", "size") else None
        if cause.kind == "weights":
            words = f"Take layer {cause.title} from the parent again."
            return Repair("restore-layer", words, layers=(cause.layer,), expected=cause.restored)
        if cause.kind == "quantizers":
            indices = worst_frames(seen, number, effects.subject, self.config.cause_frames, self.split.classes)
            repair = self._in_float(parent, child, finding, effects, indices)
            return repair if repair is None or _helps(repair) else self._train(finding, seen)
        if cause.kind == "channels" and child.manifest.kind == "checkpoint":
            return self._keep_channels(parent, child, finding, effects)
        return self._train(finding, seen)

    def _in_float(
        self, parent: Entry, child: Entry, finding: Finding, effects: Effects, indices: Sequence[int]
    ) -> Repair | None:
        """Proposes the fewest layers to keep in float."""
        float_graph, quantized, network = graph_of(parent), graph_of(child), parent.engine.network
        if float_graph is None or quantized is None:
            return None
        manifests = parent.engine.manifest, child.engine.manifest
        trials = Trials(*manifests, self.split, indices, effects.subject, self.config.threads)
        on_integers = child.manifest.kind == "engine" and child.backend == DEFAULT_BACKEND
        ranges, settings = ranges_of(child, network), build_settings(child)
        titles = {cause.layer: cause.title for cause in effects.causes}

        def candidate(wanted: float) -> Candidate:
            layers, won = least_repair(float_graph, quantized, trials, effects, wanted, writes_integers=on_integers)
            command = ["jetseg", "build-engine", str(parent.path), "--data", self.dataset.spec, "--force"]
            command += ["--calibration", str(ranges.path)] if ranges is not None else []
            command += as_options({**settings, "keep_float": layers})
            named = ", ".join(titles.get(layer, layer) for layer in layers)
            words = f"Keep {len(layers)} operator{'' if len(layers) == 1 else 's'} in float: {named}."
            repair = Repair("float-layers", words, shlex.join(command), layers, round(won, 3))
            return (
                repair,
                lambda folder: (
                    build_engine(
                        network or parent.path,
                        ranges=ranges,
                        data=self.dataset,
                        out=folder / "repaired.onnx",
                        keep_float=layers,
                        eval_split=self.split.split,
                        eval_frames=1,
                        estimate=False,
                        force=True,
                        threads=self.config.threads,
                        **settings,
                        **_EVERYTHING,
                    ).path
                ),
            )

        return self._first_enough(finding, child, (candidate(wanted) for wanted in _WANTED_IN_TRIALS))

    def _keep_channels(self, parent: Entry, child: Entry, finding: Finding, effects: Effects) -> Repair | None:
        """Proposes to leave the layers alone whose channels mattered most."""
        names = [stage.name for stage in child.manifest.stages]
        if "prune" not in names or not effects.least:
            return None
        last = len(names) - 1 - names[::-1].index("prune")
        stage, *later = child.manifest.stages[last:]
        settings = prune_settings(stage)
        data = self.dataset if "data" in stage.settings or later else None
        tuning: dict[str, Any] = {}
        if later:
            tuning = {"epochs": self.config.repair_epochs, **train_settings(later[-1], parent.path)}

        def candidate(count: int) -> Candidate:
            layers = tuple(cause.layer for cause in effects.causes[:count])
            command = ["jetseg", "prune", str(parent.path), *(["--data", data.spec] if data else [])]
            command += as_options({**settings, "keep": layers, **as_before(later)})
            words = f"Prune again, and keep the channels of {', '.join(layers)}"
            words += ", then fine-tune as before." if later else "."
            if later and self.config.repair and not self.config.repair_epochs:
                words += " It was not tried, because it needs training, which takes `repair_epochs`."
            won = round(effects.won, 3) if count == effects.least else None
            repair = Repair("keep-channels", words, shlex.join(command), layers, won)

            def prune_again(folder: Path) -> Network | Path:
                out = folder / "repaired.safetensors"
                pruned = prune(parent.path, out=out, data=data, keep=layers, **settings, **tuning)
                return export(pruned.checkpoint, out=folder / "repaired.onnx").network

            return repair, prune_again if not later or self.config.repair_epochs else None

        counts = dict.fromkeys(min(effects.least << doubled, len(effects.causes)) for doubled in range(_MOST_TRIES))
        return self._first_enough(finding, child, map(candidate, counts))

    def _first_enough(self, finding: Finding, child: Entry, candidates: Iterable[Candidate]) -> Repair:
        """Tries one repair after the other, each larger than the one before, until half of the loss comes back.

        A repair is proposed by what it did in an experiment on a few frames; how much that is worth on all of them,
        only trying tells. Where nothing is to be tried, the first one is proposed.
        """
        tried: list[Repair] = []
        for repair, make in candidates:
            if make is None or not self.config.repair:
                return repair
            tried.append(self._tried(repair, finding, child, make))
            share = tried[-1].share
            if share is None or share >= _WANTED:
                break
        return max(tried, key=lambda repair: -np.inf if repair.share is None else repair.share)

    def _tried(self, repair: Repair, finding: Finding, child: Entry, make: Make) -> Repair:
        """Adds what a repair brings back on all frames, and what it costs."""
        try:
            with (
                scratch_folder("jetseg-repaired-") as folder,
                open_engine(make(folder), threads=self.config.threads) as engine,
            ):
                return self._measured(repair, finding, child, engine)
        except JetsegError as error:
            return replace(repair, words=f"{repair.words} It could not be tried: {error.found}")

    def _measured(self, repair: Repair, finding: Finding, child: Entry, engine: Engine) -> Repair:
        score = measure_accuracy(
            engine.segment, engine.manifest, self.split, frames=self.config.frames, description="Trying the repair"
        )
        now = score.miou if finding.kind == "miou" else score.per_class_iou[finding.subject]
        recovered = (now or 0.0) - finding.after
        calls = {name: inference_on_noise(runner) for name, runner in (("child", child.engine), ("repaired", engine))}
        times = benchmark(calls, rounds=5, seconds=0.2)
        latency_ms = (round(times["child"].p50_ms, 3), round(times["repaired"].p50_ms, 3))
        words = (
            f"{repair.words} Tried: {recovered:.1f} of {finding.loss:.1f} points come back, and a frame takes "
            f"{latency_ms[1]:.2f} ms in place of {latency_ms[0]:.2f}."
        )
        share = round(recovered / finding.loss, 4)
        return replace(repair, words=words, recovered=round(recovered, 3), share=share, latency_ms=latency_ms)

    def _temperature(self, child: Entry, finding: Finding, seen: Observation, number: int) -> Repair | None:
        """Proposes the temperature that was fitted, with what it does, and how it gets to where confidence is used."""
        value, error = seen.temperatures[number + 1], seen.mended[number + 1]
        if value is None or error is None:
            return None
        won = 100 - finding.after - error
        words = (
            f"Divide its scores by {value:.2f} before they become probabilities: the error is {error:.1f} points then"
        )
        if child.manifest.kind == "checkpoint":
            command = ["jetseg", "export", str(child.path), "--head", "confidence", "--temperature", f"{value:.3f}"]
            words += ", in the map of confidence that an export with one has."
        elif len(self.split) < LEAST_FRAMES:
            command = []
            words += "."
        else:
            command = ["jetseg", "baseline", str(child.path), "--data", self.dataset.spec, "--split", self.split.split]
            words += ", once they have been learned anew: the manifest keeps what its scores are divided by."
        return Repair(
            "temperature",
            words,
            shlex.join(command),
            expected=round(won, 3),
            recovered=round(won, 3),
            share=round(won / finding.loss, 4),
        )

    def _train(self, finding: Finding, seen: Observation) -> Repair:
        """Proposes training on more of what was lost."""
        what = finding.subject or "what it lost"
        hurt = [frame for frame in hurt_frames(seen, self.split.classes) if finding.subject in ("", frame.subject)]
        words = f"Fine-tune it with more weight on {what}"
        if hurt:
            words += f", and on more frames like {', '.join(frame.name for frame in hurt[:_NAMED])}"
        return Repair("train", f"{words}.")
