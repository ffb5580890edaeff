"""What smaller networks lost against their parent, why, and what brings it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jetseg.config import validate_config
from jetseg.data.contract import Split
from jetseg.data.dataset import Dataset, match_input, open_dataset
from jetseg.data.target_labels import labels_of_target
from jetseg.engine.one_task import engine_of_task
from jetseg.errors import ConfigError
from jetseg.evaluation.tasks import has_one_class_map, target_names
from jetseg.explanation.causes.cause import Cause, Effects, explained_share
from jetseg.explanation.config import ExplainConfig
from jetseg.explanation.explained import Explained, explain_entries
from jetseg.explanation.pointed import find_pointed
from jetseg.network import Network, open_network
from jetseg.preprocess import FrameU8
from jetseg.progress import ProgressCallback, report_progress
from jetseg.provenance import device_name, toolchain
from jetseg.report.rows import Entry
from jetseg.storage import check_place
from jetseg.workflows.comparing import Networks, open_entries
from jetseg.workflows.repairable import check_repairable
from jetseg.workflows.repairing import Repairs


def explain(
    parent: Network | Path | str,
    children: Networks,
    *,
    data: Dataset | str,
    split: str = "val",
    out: Path | str | None = None,
    manifest: Path | str | None = None,
    progress: ProgressCallback | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> Explained:
    """Tells what smaller networks lost against their parent, with causes, and writes it as one HTML page.

    Args:
        parent: Checkpoint, ONNX file or engine that the others were made from.
        children: The smaller ones.
        data: Labelled frames, as a spec or opened.
        split: Their split.
        out: The page to write; none by default.
        manifest: A manifest for files that have none beside them.
        progress: Is told how the work goes on.
        settings: Fields of `jetseg.explanation.config.ExplainConfig`, as in `frames=100`.

    Returns:
        For each child a summary in words and the findings as data, the gravest first. What is claimed was tested: see
        `jetseg.explanation.significance`.

    Raises:
        ConfigError: Settings are wrong, or there is no child, or of several tasks none was chosen.
        MissingDependencyError: What draws the page is not installed.
        JetsegError: A network or the data is wrong, or the page cannot be written.
    """
    config = validate_config(ExplainConfig, settings)
    networks = [parent, *children]
    if len(networks) < 2:
        raise ConfigError(f"Only {parent} was given.", "Give a network that was made from it, too.")
    if out is not None:
        import jetseg.explanation.page  # noqa: F401 - says at once if what draws it is missing

        check_place(Path(out))
    dataset = open_dataset(data)
    asked = dataset.split(split)
    with report_progress(progress), open_entries(networks, manifest, config.threads, deployed=True) as opened:
        one_task = not has_one_class_map(opened[0].engine.manifest) or config.task is not None
        entries, asked = _of_task(opened, asked, config) if one_task else (opened, asked)
        if config.repair:
            check_repairable(entries[0], entries[1:])
        frames = match_input(asked, entries[0].engine.manifest.input)
        if config.at is not None:
            if out is None:
                raise ConfigError("`at` is for the page, and none is written.", "Give `out`.")
            find_pointed(frames, config.at)  # before the frames are compared, which takes minutes
        conditions = {
            "data": dataset.spec,
            "split": split,
            "frames": min(config.frames or len(frames), len(frames)),
            "frames_in_split": len(frames),
            "confidence": config.confidence,
            "device": device_name(),
            "toolchain": toolchain(),
            **({"task": config.task} if one_task else {}),
            "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        }
        search = partial(_causes, frames, config) if config.causes else None
        repair = None if one_task else Repairs(dataset, frames, config).find
        result = explain_entries(entries, frames, config, conditions, search, repair)
        if out is not None:
            from jetseg.explanation.page import write_page

            write_page(Path(out), result, entries, frames, config, _no_map if one_task else _activation_map)
        return result


def _of_task(entries: Sequence[Entry], split: Split, config: ExplainConfig) -> tuple[list[Entry], Split]:
    """Returns networks of several tasks, and the frames, as if there were one task only."""
    manifest = entries[0].engine.manifest
    names = [output.label for output in manifest.outputs]
    known = [output.label for output in manifest.outputs if output.classes]
    if config.task not in known:
        raise ConfigError(
            f"The networks have the tasks {', '.join(names)}, and one is explained at a time.",
            f"Give `task` as one of {', '.join(known)}." if known else "Depth has no classes: `jetseg eval` scores it.",
        )
    if config.repair:
        raise ConfigError("Repairs are tried for networks of one task.", "Leave out `repair`.")
    views = []
    for entry in entries:
        labels = [output.label for output in entry.engine.manifest.outputs]
        if config.task not in labels:
            raise ConfigError(f"{entry.path} has no task {config.task}.", f"It has: {', '.join(labels)}.")
        views.append(replace(entry, engine=engine_of_task(entry.engine, labels.index(config.task))))
    target = target_names(manifest)[names.index(config.task)]
    return views, labels_of_target(split, target)


def _no_map(
    entry: Entry, frame_hwc_u8: FrameU8, where_hw: npt.NDArray[np.bool_], number: int
) -> npt.NDArray[np.float32] | None:
    """Makes no class activation map: that of a joined output would be of all tasks."""
    del entry, frame_hwc_u8, where_hw, number
    return None


def _causes(
    split: Split, config: ExplainConfig, parent: Entry, child: Entry, indices: Sequence[int], subject: str
) -> Effects | None:
    if subject and parent.manifest.kind == child.manifest.kind == "checkpoint":
        found = _lost_channels(parent, child, split, indices, subject, config.task)
        if found is not None:
            return found
    if config.task is not None:  # quantizers and weights serve all tasks together
        return None
    from jetseg.explanation.causes.search import search_causes

    return search_causes(parent, child, split, indices, subject, config.threads)


def _activation_map(
    entry: Entry, frame_hwc_u8: FrameU8, where_hw: npt.NDArray[np.bool_], number: int
) -> npt.NDArray[np.float32] | None:
    """Makes a class activation map of a checkpoint; other files have no gradients."""
    if entry.manifest.kind != "checkpoint":
        return None
    from jetseg.compress.activation_map import class_activation

    return class_activation(open_network(entry.path), frame_hwc_u8, where_hw, number)


def _lost_channels(
    parent: Entry, child: Entry, split: Split, indices: Sequence[int], subject: str, task: str | None
) -> Effects | None:
    """Tells what the channels that pruning took meant to a class; None where none are known to be gone."""
    from jetseg.compress.relevance import lost_relevance

    model, stages = child.manifest.model, child.manifest.stages
    trained = bool(stages) and stages[-1].name != "prune"
    found = model and lost_relevance(
        open_network(parent.path), model, split, indices, subject, task=task, trained=trained
    )
    if not found:
        return None
    lost = found.dense - found.masked
    causes = [
        Cause(
            "channels",
            layer.layer,
            layer.layer,
            share=explained_share(lost, layer.restored or 0.0, layer.alone or 0.0),
            restored=layer.restored,
            alone=layer.alone,
            channels=tuple(channel for channel in layer.most if channel in layer.gone),
            most=len(layer.most),
            before_training=trained,
        )
        for layer in found.layers
    ]
    return Effects(subject, found.dense, found.masked, len(indices), tuple(causes), found.least, found.won)
