"""MQTT with Debian's mosquitto: what a subscriber of its own sees, and what the broker says after a SIGKILL."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from threading import enumerate as enumerate_threads

import pytest

pytest.importorskip("paho.mqtt.client", reason="paho-mqtt (extra `mqtt`) is not installed")
if shutil.which("mosquitto") is None or shutil.which("mosquitto_sub") is None:
    pytest.skip("mosquitto is not installed", allow_module_level=True)

from camera_fakes import ANY_SPEED, MANIFEST
from small_network import write_small_network

from jetseg.address import SourceAddress
from jetseg.camera.contract import SinkContext
from jetseg.camera.sinks.mqtt import MqttSink, parse_broker
from jetseg.camera.sinks.opening import open_sink
from jetseg.camera.stopping import StopFlag
from jetseg.errors import ConfigError
from jetseg.monitor.events import EventLog
from jetseg.monitor.observer import Observer
from jetseg.monitor.statistics import LoopStatistics


@contextmanager
def broker(folder, port=None, *, password=None):
    """Runs a broker on the loopback, with a user "vehicle" if there is a password; gives its port."""
    port = port or free_port()
    lines = [f"listener {port} 127.0.0.1", f"allow_anonymous {'false' if password else 'true'}"]
    if password:
        users = folder / "users"
        subprocess.run(["mosquitto_passwd", "-b", "-c", users, "vehicle", password], check=True)
        users.chmod(0o644)
        lines += [f"password_file {users}", "user root"]
    config = folder / "mosquitto.conf"
    config.write_text("\n".join(lines))
    process = subprocess.Popen(["mosquitto", "-c", config], stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def subscriber(port, *options):
    """Runs mosquitto_sub; gives a function that returns the next message on a topic."""
    command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "-t", "fleet/#", "-v", "-q", "1", "-W", "30"]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)

    def next_on(topic, wanted=lambda content: True):
        for line in process.stdout:
            name, _, text = line.partition(" ")
            if name == f"fleet/7/{topic}" and wanted(content := json.loads(text)):
                return content
        raise AssertionError(f"nothing came on {topic}")

    try:
        yield next_on
    finally:
        process.kill()
        process.communicate()


@contextmanager
def sink_on(address, events):
    watchers = []
    context = SinkContext(MANIFEST, events, StopFlag(), watch=watchers.append)
    with open_sink(f"mqtt:{address}", context) as sink:
        yield sink, watchers[0]


def test_a_subscriber_sees_state_figures_and_events(tmp_path):
    events, observation = EventLog(), Observer(LoopStatistics(ANY_SPEED)).latest
    with broker(tmp_path) as port, subscriber(port) as next_on:
        with sink_on(f"mqtt://127.0.0.1:{port}/fleet/7", events) as (_, watcher):
            assert next_on("status") == {"state": "online"}
            watcher(observation)
            found = next_on("statistics")
            assert (found["level"], found["frames"]) == ("stale", 0)
            events.add("camera-lost", "alarm", "It is gone.", silent_s=2.0)
            found = next_on("events")
            assert (found["kind"], found["values"]) == ("camera-lost", {"silent_s": 2.0})
        assert next_on("status") == {"state": "ended"}
        with subscriber(port) as late:  # what is retained
            assert late("status") == {"state": "ended"}
        with subscriber(port) as late:
            assert late("statistics")["frames"] == 0


@pytest.mark.long
def test_the_broker_tells_the_death_of_a_run(tmp_path):
    network = write_small_network(tmp_path)
    with broker(tmp_path) as port, subscriber(port) as next_on:
        command = [sys.executable, "-c", "from jetseg.cli.main import main; main()", "run", network, "--source"]
        process = subprocess.Popen(
            [*command, "synthetic", "--no-labels", "--mqtt", f"mqtt://127.0.0.1:{port}/fleet/7"],
            stderr=subprocess.DEVNULL,
        )
        try:
            assert next_on("statistics", lambda found: found["frames"] > 0)["frames_per_second"] >= 0
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert next_on("status", lambda found: found["state"] != "online") == {"state": "offline"}


@pytest.mark.long
def test_a_broker_that_comes_later_gets_the_events_until_then(tmp_path):
    events, port = EventLog(), free_port()
    with sink_on(f"mqtt://127.0.0.1:{port}/fleet/7", events):
        events.add("early", "info", "Before there was a broker.")
        until = time.perf_counter() + 10
        while "mqtt-lost" not in [event.kind for event in events.recent()]:
            assert time.perf_counter() < until
            time.sleep(0.01)
        with broker(tmp_path, port), subscriber(port) as next_on:
            assert next_on("status") == {"state": "online"}
            assert next_on("events", lambda found: found["kind"] == "mqtt-back")


def test_a_password_is_used_and_never_shown(tmp_path, monkeypatch):
    events = EventLog()
    with broker(tmp_path, password="s3cret") as port:
        monkeypatch.setenv("BROKER", f"mqtt://vehicle:s3cret@127.0.0.1:{port}/fleet/7")
        with subscriber(port, "-u", "vehicle", "-P", "s3cret") as next_on, sink_on("env:BROKER", events):
            assert next_on("status") == {"state": "online"}
        monkeypatch.setenv("BROKER", f"mqtt://vehicle:wr0ng@127.0.0.1:{port}/fleet/7")
        with sink_on("env:BROKER", events):
            until = time.perf_counter() + 10
            while not events.recent():
                assert time.perf_counter() < until
                time.sleep(0.01)
    text = events.recent()[0].text
    assert "refuses the connection: Not authorized" in text
    assert "wr0ng" not in text
    assert "fleet" not in text
    assert "s3cret" not in repr(parse_broker(SourceAddress("mqtt://a:s3cret@b/c")))


@pytest.mark.parametrize(
    "address",
    [
        *("http://10.0.0.5/a", "http://u:s3cret@10.0.0.5:1883/a", "tcp://10.0.0.5:1883/a", "mqtt:///a", "host"),
        *("mqtt://u:s3cret@host:99999/a", "mqtt://u:s3cret@host/a#b"),
    ],
)
def test_an_address_that_is_none_is_refused_without_its_password(address):
    with pytest.raises(ConfigError, match="is no address of a broker") as caught:
        parse_broker(SourceAddress(address))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("topic", ["$SYS/vehicle", "fleet/%2B", "fleet/%23", "a%00b", "a" * 65_001])
def test_a_topic_that_no_broker_takes_is_refused(topic):
    with pytest.raises(ConfigError, match="no topic to publish on") as caught:
        parse_broker(SourceAddress(f"mqtt://u:s3cret@host/{topic}"))
    assert "s3cret" not in str(caught.value)


def test_the_connection_ends_with_the_run_whatever_the_last_message_meets(monkeypatch):
    def connections():
        return [thread for thread in enumerate_threads() if thread.name.startswith("paho-mqtt")]

    broker = parse_broker(SourceAddress(f"mqtt://127.0.0.1:{free_port()}/fleet"))
    sink = MqttSink(broker, EventLog())
    assert len(connections()) == 1

    def full(*args, **kwargs):
        raise ValueError("Message is not queued due to ERR_QUEUE_SIZE")

    monkeypatch.setattr(sink._client, "is_connected", lambda: True)
    monkeypatch.setattr(sink._client, "publish", full)
    with pytest.raises(ValueError, match="not queued"):
        sink.close()
    assert not connections()
