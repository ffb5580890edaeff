import json
import threading

import numpy as np
import pytest
from camera_fakes import ANY_SPEED, MANIFEST, BlobDataset, FakeRunner, FakeSource

from jetseg.camera.config import LoopConfig
from jetseg.camera.loop import new_statistics, run_loop
from jetseg.camera.sinks.monitors import open_monitor
from jetseg.engine.engine import Engine
from jetseg.errors import DataError
from jetseg.evaluation.profile import measure_profile
from jetseg.manifest import Manifest
from jetseg.measured import Accuracy
from jetseg.monitor.score_tap import ScoreTap


class ManyBlobs(BlobDataset):
    def __len__(self):
        return 12


def watched_run(source, runner, **options):
    """Runs the loop with the monitors; returns the events' kinds, the summary and the sink."""
    tap = ScoreTap(runner)
    statistics = new_statistics(tap, source, engine=ANY_SPEED)
    with open_monitor(tap, source, **options) as sink:
        run_loop(LoopConfig(), tap, source, [sink], statistics=statistics)
    return [event.kind for event in statistics.events.recent()], sink.summary()


def profiled(runner):
    profile = measure_profile(runner.infer, runner.manifest, ManyBlobs(), frames=12)
    runner.manifest = runner.manifest.model_copy(update={"profile": profile})
    return runner


def test_foreign_frames_raise_events_in_file_time():
    kinds, summary = watched_run(FakeSource(60, frames_per_second=25.0), profiled(FakeRunner()))
    assert "scene-unlike-calibration" in kinds
    assert "classes-unlike-calibration" in summary["drift"]["active"]
    assert summary["drift"]["signals"]["low-confidence"]["value"] is not None
    assert summary["shadow"] is None
    json.dumps(summary)


def test_a_second_of_foreign_frames_raises_none():
    kinds, _ = watched_run(FakeSource(20, frames_per_second=25.0), profiled(FakeRunner()))
    assert kinds == []


def test_without_profile_or_when_told_so_drift_is_off():
    assert watched_run(FakeSource(60), FakeRunner())[1]["drift"] is None
    off = {"drift": None, "estimate": None, "shadow": None}
    assert watched_run(FakeSource(60), profiled(FakeRunner()), drift=False) == ([], off)


class Rotated(FakeRunner):
    """Mistakes every class for the next one."""

    def infer(self, network_input):
        return np.roll(super().infer(network_input), 1, axis=1)


def test_shadow_tells_a_broken_engine_from_a_sound_one_and_ends_with_the_run():
    kinds, summary = watched_run(FakeSource(40, delay=0.02), Rotated(), reference=Engine(FakeRunner()), every=2)
    assert kinds == ["shadow-disagreement"]
    assert summary["shadow"]["agreement_miou"] == 0
    assert summary["shadow"]["compared"] + summary["shadow"]["skipped"] <= 20
    kinds, summary = watched_run(FakeSource(40, delay=0.02), FakeRunner(), reference=Engine(FakeRunner()), every=2)
    assert kinds == []
    assert summary["shadow"]["agreement_miou"] == 100
    assert not any(thread.name == "jetseg-shadow" for thread in threading.enumerate())


class NotFinite(FakeRunner):
    def infer(self, network_input):
        return np.full_like(super().infer(network_input), np.nan)


def test_shadow_says_that_its_reference_gives_no_numbers():
    source = FakeSource(40, delay=0.02)
    kinds, summary = watched_run(source, FakeRunner(), reference=Engine(NotFinite()), every=2)
    assert kinds == ["shadow-failed"]
    assert summary["shadow"]["compared"] == 0


def test_a_reference_with_other_classes_is_refused():
    reference = FakeRunner()
    reference.manifest = Manifest.model_validate({"classes": ["a", "b", "c"], "input": {"height": 24, "width": 32}})
    with (
        pytest.raises(DataError, match="a, b, c"),
        open_monitor(FakeRunner(), FakeSource(1), reference=Engine(reference)),
    ):
        pass


@pytest.mark.parametrize(("expected", "kinds"), [(90.0, ["low-accuracy"]), (14.0, [])])
def test_accuracy_far_below_the_manifest_is_noticed(expected, kinds):
    runner = FakeRunner()
    record = Accuracy(data="d", split="val", frames=1, miou=expected, pixel_accuracy=None, per_class_iou={})
    runner.manifest = runner.manifest.model_copy(update={"accuracy": (record,)})
    # the label says "blue" on every frame, as does every third answer: 33 %, 0 % and 0 %
    found, _ = watched_run(FakeSource(60, classes=MANIFEST.classes), runner)
    assert found == kinds
