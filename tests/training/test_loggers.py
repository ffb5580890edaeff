"""Figures of a training go to metrics.csv, TensorBoard or MLflow, each epoch once, interrupted or not."""

from __future__ import annotations

import csv
import sys
import traceback
from pathlib import Path
from types import ModuleType

import pytest

from jetseg.errors import DeviceError, MissingDependencyError
from jetseg.training.config import TrainConfig
from jetseg.training.loggers import go_on, open_loggers

ROWS = [
    {"epoch": epoch, "loss": 1.0 / epoch, "lr": 0.1, "val_miou": None if epoch == 2 else 10.0 * epoch}
    for epoch in (1, 2, 3)
]


def _log(folder: Path, logger: str, history: list[dict], new: list[dict]) -> None:
    loggers = open_loggers(TrainConfig(data="synthetic:2", out=folder, logger=logger))
    go_on(loggers, history)
    for one in loggers:
        for row in new:
            one.log_metrics(dict(row), row["epoch"])
        one.finalize("success")


def test_csv_goes_on_with_the_rows_that_are_kept_and_forgets_those_that_are_not(tmp_path):
    _log(tmp_path, "csv", [], ROWS[:2])
    _log(tmp_path, "csv", ROWS[:1], ROWS[1:])
    with (tmp_path / "metrics.csv").open() as stream:
        read = list(csv.DictReader(stream))
    assert [row["epoch"] for row in read] == ["1", "2", "3"]
    assert read[1] == {"epoch": "2", "loss": "0.5", "lr": "0.1", "val_miou": ""}


def test_tensorboard_is_told_from_which_step_on_former_events_are_void(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    from tensorboardX.record_writer import RecordWriter  # noqa: F401 - the format that is read below

    _log(tmp_path, "tensorboard", [], ROWS[:2])
    first = set((tmp_path / "tensorboard").iterdir())
    _log(tmp_path, "tensorboard", ROWS[:1], ROWS[1:])
    second = sorted((tmp_path / "tensorboard").iterdir(), key=lambda path: path not in first)
    events = [Event.FromString(record) for path in second for record in _records(path.read_bytes())]
    starts = [event.step for event in events if event.session_log.status == SessionLog.START]
    assert starts[-1] == 2, "epoch 2 is run again, and its former events are void"
    values = {(event.step, value.tag) for event in events for value in event.summary.value}
    assert {(1, "loss"), (2, "loss"), (3, "val_miou")} <= values
    assert (2, "val_miou") not in values


def _records(content: bytes):
    """Yields the records of a file of TensorFlow: length, its checksum, data, their checksum."""
    place = 0
    while place < len(content):
        length = int.from_bytes(content[place : place + 8], "little")
        yield content[place + 12 : place + 12 + length]
        place += 16 + length


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of libraries that MLflow uses
def test_mlflow_goes_on_with_its_run(tmp_path, monkeypatch):
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    _log(tmp_path, "mlflow", [], ROWS[:1])
    _log(tmp_path, "mlflow", ROWS[:1], ROWS[1:])
    client = tracking.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("jetseg").experiment_id])
    assert run.info.status == "FINISHED"
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")] == [1, 2, 3]


def test_a_logger_that_is_not_installed_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mlflow.tracking", None)
    with pytest.raises(MissingDependencyError, match="mlflow"):
        open_loggers(TrainConfig(data="synthetic:2", out=tmp_path, logger="mlflow"))


def test_what_a_tracking_server_answers_is_told_without_its_password(tmp_path, monkeypatch):
    address = "https://jetseg:open-sesame@127.0.0.1:5000/mlflow"

    class Refusing:
        def __init__(self, tracking_uri: str) -> None:
            self.uri = tracking_uri

        def get_experiment_by_name(self, name: str) -> None:
            raise ConnectionError(f"no answer from {self.uri}, user jetseg:open-sesame")

    library = ModuleType("mlflow.tracking")
    library.MlflowClient = Refusing
    monkeypatch.setitem(sys.modules, "mlflow", ModuleType("mlflow"))
    monkeypatch.setitem(sys.modules, "mlflow.tracking", library)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(DeviceError, match=r"MLflow at https://127.0.0.1:5000/... failed: no answer") as raised:
        _log(tmp_path, "mlflow", [], ROWS[:1])
    told = "".join(traceback.format_exception(raised.value)) + str(raised.value.fix)
    assert "sesame" not in told
    assert "Check MLFLOW_TRACKING_URI" in told
    assert not any("sesame" in path.read_text() for path in tmp_path.rglob("*") if path.is_file())
