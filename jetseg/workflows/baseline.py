"""Measures what is normal, for an engine that was built without data."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetseg.artifact_file import rewrite_manifest
from jetseg.config import validate_config
from jetseg.data.dataset import Dataset, open_dataset
from jetseg.errors import DataError
from jetseg.evaluation.learning import learn_estimator
from jetseg.evaluation.profile import LEAST_FRAMES, measure_profile
from jetseg.manifest_file import manifest_path
from jetseg.measured import Estimator, Profile
from jetseg.monitor.config import BaselineConfig
from jetseg.network import Network
from jetseg.progress import ProgressCallback, report_progress
from jetseg.storage import check_place
from jetseg.workflows.opening import as_network, open_engine


@dataclass(frozen=True)
class Baseline:
    """What is normal for an engine.

    Attributes:
        path: The engine's manifest, which holds it now.
        profile: The signals of frames and answers.
        estimator: Estimates accuracy without labels: what was learned, or else what the engine had; None without.
        learned: Whether it was learned now, which takes 60 frames, and labels or a reference.
    """

    path: Path
    profile: Profile
    estimator: Estimator | None = None
    learned: bool = False


def measure_baseline(
    engine: Network | Path | str,
    *,
    data: Dataset | str,
    reference: Network | Path | str | None = None,
    manifest: Path | str | None = None,
    progress: ProgressCallback | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> Baseline:
    """Measures the signals that the drift monitor compares with, and writes them into the engine's manifest.

    Args:
        engine: Engine or ONNX file, opened or by its path.
        data: Frames as they are when all is well, as a spec or opened; the estimator is learned from their labels, and
            without them from `reference`.
        reference: The network that the engine was made from: their agreement is measured too.
        manifest: Manifest for files that have none beside them.
        progress: Is told how the work goes on.
        settings: Fields of `jetseg.monitor.config.BaselineConfig`, as in `frames=64`.

    Returns:
        What was measured, and where it is written.

    Raises:
        ConfigError: Settings are wrong.
        DataError: There are too few frames.
        JetsegError: The engine or the data is wrong.
    """
    config = validate_config(BaselineConfig, settings)
    with report_progress(progress), ExitStack() as stack:
        network = as_network(engine, manifest)
        check_place(manifest_path(network.path))
        opened = stack.enter_context(open_engine(network, threads=config.threads))
        parent = None
        if reference is not None:
            parent = stack.enter_context(open_engine(reference, manifest=manifest, threads=config.threads)).segment
        split = open_dataset(data).split(config.split)
        profile = measure_profile(opened.infer, opened.manifest, split, frames=config.frames, parent=parent)
        found = learn_estimator(opened.infer, opened.manifest, split, parent=parent) if config.estimate else None
    if profile is None:
        raise DataError(
            f"{split.spec} ({config.split}) has {len(split)} frames.", f"A baseline takes {LEAST_FRAMES} or more."
        )
    # the engine and how it was made stay what they were, so only what a vehicle goes by changes
    estimator = found or network.manifest.estimator
    rewrite_manifest(network, network.manifest.changed(profile=profile, estimator=estimator))
    return Baseline(manifest_path(network.path), profile, estimator, learned=found is not None)
