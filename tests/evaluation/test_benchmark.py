from collections.abc import Callable
from itertools import cycle

import pytest

from jetseg.errors import ConfigError
from jetseg.evaluation.benchmark import LEAST_RUNS_PER_TURN, benchmark


class FakeMachine:
    """A clock that only the networks move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def __call__(self) -> float:
        return self.now

    def network(self, name: str, duration: Callable[[float], float]) -> Callable[[], None]:
        """Returns a network that takes `duration(time at its start)` seconds."""

        def run() -> None:
            self.order.append(name)
            self.now += duration(self.now)

        return run


def always(*seconds: float) -> Callable[[float], float]:
    steps = cycle(seconds)
    return lambda _: next(steps)


def test_percentiles_rate_and_ratio():
    machine = FakeMachine()
    runners = {
        "a": machine.network("a", always(0.020)),
        "b": machine.network("b", always(0.008, 0.012, 0.010)),
    }
    result = benchmark(runners, rounds=3, seconds=0.1, clock=machine)
    assert (result["a"].p50_ms, result["a"].p99_ms) == (pytest.approx(20), pytest.approx(20))
    assert result["a"].frames_per_second == pytest.approx(50)
    assert result["a"].speed_ratio == result["a"].speed_ratio_min == result["a"].speed_ratio_max == 1.0
    assert result["b"].p50_ms == pytest.approx(10)
    assert 10 < result["b"].p95_ms <= result["b"].p99_ms <= 12 + 1e-9
    assert result["b"].speed_ratio == pytest.approx(2.0)
    assert result["b"].frames_per_second == pytest.approx(100, rel=0.05)


def test_turns_alternate_and_slow_networks_get_their_runs():
    machine = FakeMachine()
    runners = {"a": machine.network("a", always(1.0)), "b": machine.network("b", always(2.0))}
    result = benchmark(runners, rounds=2, seconds=0.1, clock=machine)
    assert result["a"].runs == result["b"].runs == 2 * LEAST_RUNS_PER_TURN
    turns = [name for name, before in zip(machine.order, ["", *machine.order], strict=False) if name != before]
    assert turns == ["a", "b"] * 3  # warm-up and two rounds


def test_a_machine_that_slows_down_does_not_change_the_ratio():
    """The machine is three times slower from some moment on."""
    machine = FakeMachine()

    def slower(seconds: float):
        return lambda now: seconds * (1.0 if now < 1.5 else 3.0)

    runners = {"a": machine.network("a", slower(0.10)), "b": machine.network("b", slower(0.05))}
    result = benchmark(runners, rounds=5, seconds=0.5, clock=machine)
    assert result["b"].speed_ratio == pytest.approx(2.0)


@pytest.mark.parametrize("settings", [{"rounds": 0}, {"seconds": 0.0}])
def test_settings_that_measure_nothing_are_refused(settings):
    with pytest.raises(ConfigError, match="measures nothing"):
        benchmark({"a": lambda: None}, **settings)


def test_no_networks_are_refused():
    with pytest.raises(ConfigError, match="0 networks"):
        benchmark({})
