import threading
import time

import pytest

from jetseg.monitor import host as host_module
from jetseg.monitor.events import EventLog
from jetseg.monitor.host import HostMonitor
from jetseg.monitor.host_files import HostFiles, read_host_files


def put(root, **files):
    for path, content in files.items():
        place = root / path.replace("__", "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)


@pytest.fixture
def board(tmp_path):
    """The files of /sys as a Jetson Orin has them, written by hand: no board was at hand."""
    thermal, hwmon = tmp_path / "sys/class/thermal", tmp_path / "sys/class/hwmon"
    put(thermal, thermal_zone0__type="cpu-thermal\n", thermal_zone0__temp="48500\n")
    put(thermal, thermal_zone1__type="gpu-thermal\n", thermal_zone1__temp="61250\n")
    put(thermal, thermal_zone2__type="cv0-thermal\n", thermal_zone2__temp="-256000\n")
    put(thermal, cooling_device0__type="pwm-fan\n", cooling_device0__cur_state="2\n")
    put(thermal, cooling_device1__type="cpufreq-cpu0\n", cooling_device1__cur_state="0\n")
    put(hwmon, hwmon1__name="ina3221\n")
    put(hwmon, hwmon1__in1_label="VDD_IN\n", hwmon1__in1_input="5000\n", hwmon1__curr1_input="2000\n")
    put(hwmon, hwmon1__in2_label="VDD_CPU_GPU_CV\n", hwmon1__in2_input="5000\n", hwmon1__curr2_input="800\n")
    put(hwmon, hwmon2__oc1_event_cnt="0\n", hwmon2__oc3_event_cnt="4\n")
    put(tmp_path / "sys/devices/system/cpu/cpufreq", policy0__scaling_cur_freq="1510400\n")
    put(tmp_path / "sys/class/devfreq", **{"17000000.gpu__cur_freq": "624750000\n"})
    return tmp_path


def test_board_is_read(board):
    files = read_host_files(board)
    assert files.temperatures_c == {"cpu-thermal": 48.5, "gpu-thermal": 61.25}
    assert files.rails_w == {"VDD_IN": 10.0, "VDD_CPU_GPU_CV": 4.0}
    assert files.power_w == 10.0
    assert files.clocks_mhz == {"cpu": 1510.4, "gpu": 624.75}
    assert files.cooling == ()
    assert files.throttle_counts == {"oc1_event_cnt": 0, "oc3_event_cnt": 4}


def test_machine_that_tells_nothing_gives_nothing(tmp_path):
    assert read_host_files(tmp_path) == HostFiles()
    assert HostFiles().power_w is None


def test_power_without_a_total_rail_is_the_sum():
    assert HostFiles(rails_w={"GPU": 4.0, "CPU": 2.5}).power_w == 6.5


def test_throttling_is_told_once_and_is_in_the_summary(board, monkeypatch):
    monkeypatch.setattr(host_module, "_CALM_SECONDS", 0.05)
    events, cooling = EventLog(), board / "sys/class/thermal/cooling_device1/cur_state"
    with HostMonitor(events, period_seconds=0.01, root=board) as monitor:
        wait_for(lambda: monitor.summary() is not None)
        assert monitor.latest.throttled == ()
        assert not events.recent()  # the counter stood at 4 before the run
        cooling.write_text("3\n")
        wait_for(events.recent)
        time.sleep(0.1)
        cooling.write_text("0\n")
        wait_for(lambda: len(events.recent()) == 2)
        (board / "sys/class/hwmon/hwmon2/oc3_event_cnt").write_text("5\n")
        wait_for(lambda: len(events.recent()) == 3)
    kinds = [(event.kind, event.severity) for event in events.recent()][:3]
    assert kinds == [("throttling-started", "warning"), ("throttling-ended", "info"), ("throttling-started", "warning")]
    assert "cpufreq-cpu0" in events.recent()[0].text
    assert "oc3_event_cnt" in events.recent()[2].text
    summary = monitor.summary()
    assert summary.throttled_seconds > 0
    assert summary.temperature_c == 61.25
    assert summary.power_w == pytest.approx(10.0)


def test_machine_without_signs_of_throttling_says_that_it_cannot_tell(tmp_path, monkeypatch):
    with HostMonitor(EventLog(), period_seconds=0.01, root=tmp_path) as monitor:
        wait_for(lambda: monitor.summary() is not None)
    assert monitor.summary().throttled_seconds is None
    assert monitor.summary().process_mb > 1


def test_power_mode_is_asked_of_nvpmodel(tmp_path, monkeypatch):
    tool = tmp_path / "nvpmodel"
    tool.write_text("#!/bin/sh\necho 'NV Power Mode: MAXN_SUPER'\necho 2\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with HostMonitor(EventLog(), root=tmp_path / "none") as monitor:
        assert monitor.latest.power_mode == "MAXN_SUPER"


def test_no_thread_is_left():
    before = set(threading.enumerate())
    with HostMonitor(EventLog()):
        pass
    assert set(threading.enumerate()) == before


def wait_for(condition, seconds=10.0):
    until = time.perf_counter() + seconds
    while not condition():
        assert time.perf_counter() < until, "it did not happen in time"
        time.sleep(0.005)
