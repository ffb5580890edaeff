"""Runs the chains of trials, and measures what comes of them beside the given network."""

from __future__ import annotations

import platform
import time
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import onnx

from jetseg.engine.backend import find_backend
from jetseg.engine.engine import Engine, open_engine
from jetseg.engine.layer_timer import quiet_latencies_ms
from jetseg.engine.result import EngineRejectedError
from jetseg.engine.timing import open_for_timing
from jetseg.errors import DataError
from jetseg.evaluation.benchmark import inference_on_noise
from jetseg.manifest import Manifest
from jetseg.network import Network, load_manifest
from jetseg.recipes.recipe import Recipe
from jetseg.recipes.run import run_recipe
from jetseg.searching.chains import RUNGS, Chain, Stage
from jetseg.searching.config import SearchConfig
from jetseg.searching.entries import Entry, Score
from jetseg.searching.liveness import worker_name
from jetseg.searching.space import Params
from jetseg.storage import scratch_folder
from jetseg.workflows.evaluating import evaluate
from jetseg.workflows.stage_results import StageResult

_ROUNDS = 10
_TURN_SECONDS = 0.06
_ONLY_MEASURED = {"preset": "fast", "estimate": False, "max_drop": 100.0, "max_class_drop": 100.0, "min_agreement": 0.0}


class GivenNetwork(AbstractContextManager["GivenNetwork"]):
    """The network that a search begins with, as an engine: all others are measured beside it.

    Args:
        checkpoint: The network.
        data: Dataset spec.
        config: Settings of the search.
        folder: Folder of the stages.
    """

    def __init__(self, checkpoint: Network, data: str, config: SearchConfig, folder: Path) -> None:
        self.checkpoint, self.data, self.config, self.folder = checkpoint, data, config, folder
        build = {"backend": config.backend, "precision": config.precision, "threads": config.threads}
        stages: list[Stage] = [
            {"stage": "export", "name": "given", "checkpoint": str(checkpoint.path)},
            {"stage": "build-engine", "name": "given-engine", "images": config.images} | build | _ONLY_MEASURED,
        ]
        exported, built = run_recipe(Recipe(description="The given network.", stages=tuple(stages)), data, folder)
        self.onnx = exported.artifacts["onnx"]
        self.engine_path = built.artifacts["engine"]
        self._stack = ExitStack()
        self.engine = self._stack.enter_context(open_engine(self.engine_path, threads=config.threads))
        self._clock = find_backend(config.backend).clock(config.threads)

    def __exit__(self, *_: object) -> None:
        """Closes the engine."""
        self._stack.close()

    def miou(self) -> float:
        """Returns the mIoU of the float network on the validation split, in percent.

        Raises:
            DataError: No pixel is labelled.
        """
        miou = evaluate(self.onnx, data=self.data, threads=self.config.threads).miou
        if miou is None:
            raise DataError(f"{self.data} has no labelled pixel in split val.", "Search on labelled data.")
        return miou

    def latency_ms(self) -> float:
        """Returns the latency of its engine in milliseconds."""
        return self._times_ms({})["given"]

    def ratio_of_engine(self, path: Path) -> float:
        """Returns how many times the given network's latency an engine takes, measured in turns."""
        with open_engine(path, threads=self.config.threads) as engine:
            return self._ratio(engine)

    def ratio_of_network(self, path: Path) -> float:
        """Returns the same of a float ONNX file, as an engine whose quantizers have the ranges of noise."""
        config = self.config
        with scratch_folder("jetseg-search-") as scratch, ExitStack() as opened:
            model, manifest = onnx.load(path), load_manifest(path)
            engine = open_for_timing(
                model, manifest, scratch / "network.onnx", config.backend, config.precision, config.threads
            )
            opened.callback(engine.close)
            return self._ratio(engine)

    def _ratio(self, engine: Engine) -> float:
        times_ms = self._times_ms({"other": engine})
        return times_ms["other"] / times_ms["given"]

    def _times_ms(self, others: dict[str, Engine]) -> dict[str, float]:
        calls = {name: inference_on_noise(engine) for name, engine in {"given": self.engine, **others}.items()}
        return quiet_latencies_ms(calls, rounds=_ROUNDS, seconds=_TURN_SECONDS, clock=self._clock)


def must_prune(chain: Chain, given: GivenNetwork, given_ms: float) -> bool:
    """Tells whether a chain has to prune channels to keep to its budget; without one, it always does.

    Raises:
        JetsegError: Its network cannot be made.
    """
    stages = chain.before_pruning()
    if chain.budget_ms is None:
        return True
    if not stages:
        return given_ms > chain.budget_ms
    stages[0]["checkpoint"] = str(chain.checkpoint)
    results = run_recipe(chain.recipe([*stages, {"stage": "export", "name": "unpruned"}]), given.data, given.folder)
    return given.ratio_of_network(results[-1].artifacts["onnx"]) * given_ms > chain.budget_ms


def measure(chain: Chain, entry: Entry, given: GivenNetwork, given_ms: float) -> Score:
    """Runs the chain of a trial up to its next rung, and measures what comes out.

    Args:
        chain: Its chain.
        entry: The trial; the epochs of its next rung are decided.
        given: The given network.
        given_ms: Its latency, by which all are scaled.

    Raises:
        JetsegError: The chain cannot be made, or a library or the machine fails.
    """
    began, rung = time.time(), entry.rung
    training = chain.training(entry.epochs[: rung + 1], prunes=bool(entry.prunes))
    stages = [*training, *(chain.building(rung) if rung else [{"stage": "export"}])]
    rejected = None
    try:
        results = run_recipe(chain.recipe(stages), given.data, given.folder)
        made = results[-1].artifacts["engine" if rung else "onnx"]
    except EngineRejectedError as error:
        rejected, made = error, error.result.path
        results = run_recipe(chain.recipe(training), given.data, given.folder)
    miou = _miou(load_manifest(made if rung else _stage(results, RUNGS[rung]).artifacts["checkpoint"]))
    ratio = given.ratio_of_engine(made) if rung else given.ratio_of_network(made)
    seconds = _stage(results, RUNGS[rung]).seconds
    return Score(
        miou=miou,
        latency_ms=ratio * given_ms,
        size_bytes=made.stat().st_size,
        engine=str(made.resolve()) if rung else None,
        machine=platform.node(),
        worker=worker_name(),
        passed=rejected is None,
        began=began,
        ended=time.time(),
        epoch_seconds=None if seconds is None else seconds / entry.epochs[rung],
    )


def _stage(results: list[StageResult], name: str) -> StageResult:
    return next(result for result in results if result.name == name)


def _miou(manifest: Manifest) -> float:
    if not manifest.accuracy or manifest.accuracy[0].miou is None:
        raise DataError("The accuracy of an engine is not known.", "Search on data with labels in split val.")
    return manifest.accuracy[0].miou


def chain_of(params: Params, given: GivenNetwork, budget_ms: float | None) -> Chain:
    """Returns the chain of a trial's choices."""
    path, teacher = given.checkpoint.path.resolve(), given.config.teacher
    spec = given.checkpoint.manifest.input
    return Chain(given.config, params, path, spec, budget_ms, path if teacher is None else teacher.resolve())
