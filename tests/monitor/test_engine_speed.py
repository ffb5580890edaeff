import time

import numpy as np
import pytest

from jetseg.manifest import Manifest
from jetseg.monitor.engine_speed import measure_engine_speed


class SleepingRunner:
    manifest = Manifest.model_validate({"classes": ["a"], "input": {"height": 8, "width": 8}})

    def __init__(self, delay, ring=None):
        self.calls = 0
        self._delay = delay
        self._ring = [np.zeros((1, 1, 8, 8), np.float32) for _ in range(ring)] if ring else None

    def infer(self, _network_input):
        self.calls += 1
        time.sleep(self._delay)
        return self._ring[self.calls % len(self._ring)] if self._ring else np.zeros((1, 1, 8, 8), np.float32)

    def close(self):
        pass


def test_speed_is_that_of_back_to_back_runs():
    speed = measure_engine_speed(SleepingRunner(0.01), seconds=0.01)
    assert speed.runs == 20
    assert 5 < speed.frames_per_second < 100


@pytest.mark.parametrize(("ring", "stays"), [(None, True), (1, False), (2, False), (3, False)])
def test_outputs_that_are_overwritten_are_noticed(ring, stays):
    assert measure_engine_speed(SleepingRunner(0.0, ring), seconds=0.01).outputs_stay is stays


def test_every_output_counts():
    class TwoOutputs(SleepingRunner):
        def infer_all(self, network_input):
            return [self.infer(network_input), further]

    further = np.zeros((1, 1, 8, 8), np.float32)
    assert measure_engine_speed(TwoOutputs(0.0), seconds=0.01).outputs_stay is False


def test_stop_ends_the_measurement():
    runner = SleepingRunner(0.0)
    speed = measure_engine_speed(runner, seconds=60, stopped=lambda: runner.calls > 10)
    assert speed.runs < 20
