"""Figures in few plain values, and how a run is judged by them."""

from dataclasses import replace

from camera_fakes import ANY_SPEED

from jetseg.camera.sinks.figures import flat_figures, judge
from jetseg.monitor.host import HostSample
from jetseg.monitor.observer import Observer
from jetseg.monitor.statistics import LoopStatistics


def observed(**changes):
    return replace(Observer(LoopStatistics(ANY_SPEED)).latest, **changes)


def test_nested_figures_get_one_name_each_and_what_is_not_known_none():
    further = {"drift": {"active": ["dark", "blur"], "signals": {"dark": {"distance": 0.123456}}}, "shadow": None}
    host = HostSample(0.0, 1.0, 2.0, 3.0, temperature_c=61.5)
    found = flat_figures(observed(frame_age_ms={"p50": 12.0}, further=further, host=host))
    assert found["drift.signals.dark.distance"] == 0.1235
    assert found["drift.active"] == "dark, blur"
    assert found["frame_age_ms.p50"] == 12.0
    assert found["temperature_c"] == 61.5
    assert "miou" not in found
    assert "shadow" not in found


def test_a_run_is_judged():
    assert judge(observed())[0] == "stale"
    assert judge(observed(since_last_frame_s=5.0))[0] == "stale"
    fine = observed(since_last_frame_s=0.1)
    assert judge(fine) == ("ok", "Frames are segmented.")
    hot = HostSample(0.0, 1.0, 2.0, 3.0, throttled=("heat",))
    assert judge(replace(fine, host=hot)) == ("warning", "The device slows itself down: heat.")
    drifting = replace(fine, further={"drift": {"active": ["dark"]}})
    assert judge(drifting) == ("warning", "Drift: dark.")
