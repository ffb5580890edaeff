"""Where a training tells its figures, epoch by epoch: loggers of Lightning Fabric."""

from __future__ import annotations

import csv
import io
import os
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import Logger
from lightning_fabric.loggers.tensorboard import TensorBoardLogger

from jetseg.address import SourceAddress
from jetseg.errors import DeviceError, MissingDependencyError, import_optional
from jetseg.storage import write_text
from jetseg.training.config import TrainConfig

METRICS_NAME = "metrics.csv"
_TENSORBOARD = "tensorboard"
_MLFLOW_RUN = "mlflow-run.txt"

Row = Mapping[str, float | None]


def open_loggers(config: TrainConfig) -> list[Logger]:
    """Returns the loggers of a run: metrics.csv always, and the one that was asked for.

    Raises:
        MissingDependencyError: Its library is not installed.
    """
    loggers: list[Logger] = [CsvLogger(config.out)]
    if config.logger == "tensorboard":
        loggers.append(_open_tensorboard(config.out))
    elif config.logger == "mlflow":
        loggers.append(MlflowLogger(config.out))
    return loggers


def go_on(loggers: Sequence[Logger], history: Sequence[Row]) -> None:
    """Prepares loggers for what comes after the rows of a run that are kept; none for a new run."""
    for logger in loggers:
        if isinstance(logger, CsvLogger | Events | MlflowLogger):
            logger.go_on(history)


class CsvLogger(Logger):
    """Writes metrics.csv, one row per epoch, whole or not at all.

    Fabric's own logger of this name forgets what a run logged before it was interrupted.

    Args:
        folder: Folder of the run.
    """

    name, version = METRICS_NAME, None

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: list[Row] = []

    def go_on(self, history: Sequence[Row]) -> None:
        """Keeps the rows that there are."""
        self._rows = list(history)

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:  # noqa: ARG002 - a column of its own
        """Adds a row."""
        self._rows.append(metrics)
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(self._rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_text(self._folder / METRICS_NAME, text.getvalue())

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Does nothing: config.yaml holds them."""


class Events(TensorBoardLogger):
    """Writes events for TensorBoard; those of epochs that are run again take the place of the former."""

    def go_on(self, history: Sequence[Row]) -> None:
        """Lets TensorBoard forget what was logged after the last epoch that is kept."""
        first = int(history[-1]["epoch"] or 0) + 1 if history else 0
        # a file is named after the second that it is begun in
        self._kwargs |= {"purge_step": first, "filename_suffix": f".from{first}"}

    def log_metrics(self, metrics: Mapping[str, float | None], step: int | None = None) -> None:
        """Logs the figures that there are."""
        super().log_metrics(_known(metrics), step)
        self.save()


class MlflowLogger(Logger):
    """Logs to MLflow: to MLFLOW_TRACKING_URI, or to a database in the folder of the run.

    Args:
        folder: Folder of the run; it keeps the number of its run, which an interrupted training goes on with.

    Raises:
        DeviceError: The server does not answer or refuses; as whatever logs. No message holds a password.
    """

    name, version = "jetseg", None

    def __init__(self, folder: Path) -> None:
        tracking = import_optional("mlflow.tracking", "mlflow", "mlflow", "logs trainings")
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        given = os.environ.get("MLFLOW_TRACKING_URI")
        self._artifacts = None if given else str((folder / "mlflow").resolve())
        self._address = SourceAddress(given or f"sqlite:///{(folder / 'mlflow.db').resolve()}")
        with self._asking():
            self._client = tracking.MlflowClient(tracking_uri=self._address.reveal())
        self._run = ""

    def go_on(self, history: Sequence[Row]) -> None:
        """Begins a run, or goes on with the one that was begun."""
        kept = self._folder / _MLFLOW_RUN
        if history and kept.is_file():
            self._run = kept.read_text(encoding="utf-8").strip()
            return
        with self._asking():
            known = self._client.get_experiment_by_name(self.name)
            number = (
                known.experiment_id
                if known
                else self._client.create_experiment(self.name, artifact_location=self._artifacts)
            )
            self._run = self._client.create_run(number, run_name=self._folder.name).info.run_id
        write_text(kept, self._run)

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Logs the figures that there are."""
        with self._asking():
            for name, value in _known(metrics).items():
                self._client.log_metric(self._run, name, value, step=step)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401, ARG002
        """Logs the settings of a run; a value that is long is cut off."""
        with self._asking():
            for name, value in (params if isinstance(params, dict) else vars(params)).items():
                self._client.log_param(self._run, name, str(value)[:500])

    def finalize(self, status: str) -> None:
        """Ends the run."""
        if self._run:
            with self._asking():
                self._client.set_terminated(self._run, status="FINISHED" if status == "success" else "KILLED")

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Turns what MLflow raises into one sentence without the address's password."""
        with self._address.concealing():
            try:
                yield
            except Exception as error:
                raise DeviceError(
                    f"MLflow at {self._address} failed: {error}",
                    "Check MLFLOW_TRACKING_URI, and that the server runs and lets you in.",
                ) from error


def _open_tensorboard(folder: Path) -> Events:
    try:
        return Events(folder, name=_TENSORBOARD, version="")
    except ModuleNotFoundError as error:
        raise MissingDependencyError("tensorboardX", "tensorboard", "writes events for TensorBoard") from error


def _known(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Returns the figures but those that are absent and the number of the epoch, which is the step."""
    return {name: value for name, value in metrics.items() if value is not None and name != "epoch"}
