"""From labelled frames, and a teacher if there is one, to a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetseg.config import validate_config
from jetseg.progress import ProgressCallback, report_progress
from jetseg.training.config import TrainConfig
from jetseg.trust import trust

if TYPE_CHECKING:
    from jetseg.data.dataset import Dataset
    from jetseg.training.loop import TrainResult


def train(
    *,
    data: Dataset | str | None = None,
    out: Path | str | None = None,
    progress: ProgressCallback | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> TrainResult:
    """Trains a network on labelled frames; with `teacher=FILE` it learns from that network's answers, too.

    The same settings give the same weights on the same machine. Called again with the same settings, an interrupted
    run goes on after its last finished epoch, and ends with the weights that it would have had anyway.

    Args:
        data: Labelled frames, as a spec or opened.
        out: Folder of the run; settings are written to config.yaml in it.
        progress: Is told how the work goes on.
        settings: Fields of `jetseg.training.config.TrainConfig`, as in `model="tiny", epochs=20`.

    Returns:
        The checkpoints, and the best one's mIoU on the validation split in percent.

    Raises:
        ConfigError: Settings are wrong, or `out` holds a run with other settings.
        DataError: A frame or a label is broken, or the teacher's classes are others.
        ArtifactError: A network that is not jetseg's own fails in the probe, which comes before the first epoch.
        TrainingDivergedError: The loss is no longer a number.
        MissingDependencyError: torch is not installed.
    """
    given = {"data": data if data is None or isinstance(data, str) else data.spec, "out": out}
    config = validate_config(TrainConfig, {**settings, **{key: value for key, value in given.items() if value}})
    from jetseg.training.loop import train as train_one
    from jetseg.workflows.probing import probe_before_training

    trust((config.model,))  # a finished run builds nothing, and its checkpoint may be opened next
    with report_progress(progress):
        probe_before_training(config)
        return train_one(config)
