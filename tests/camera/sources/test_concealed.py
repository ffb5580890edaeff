"""A source or sink of another package may have a password in its place, and no error of theirs tells it."""

import traceback

import pytest

from jetseg.address import SourceAddress
from jetseg.camera.contract import Source
from jetseg.camera.sinks.opening import open_sink
from jetseg.camera.sources.opening import open_source
from jetseg.errors import ConfigError, DataError, DeviceError, JetsegError
from jetseg.registry import SINKS, SOURCES

SECRET = "s3cr3tpw"
PLACE = f"far://user:{SECRET}@host/path"


class Far(Source):
    form = "far:PLACE"

    def __init__(self, place):
        self.name, self.place, self.reads = f"far:{place}", place, 0

    @classmethod
    def open(cls, place, context):
        return cls(place)

    def read(self):
        self.reads += 1
        if self.reads == 1:
            raise TimeoutError
        self.size_hw = (2, 3)
        raise [OSError(5, f"{self.place} is gone"), DataError(f"{self.place} is gone"), RuntimeError(self.place)][
            self.reads % 3
        ]

    def close(self):
        raise RuntimeError(self.place)


class FarSink:
    form = "far:PLACE"
    wants_overlay = False

    @staticmethod
    def open(place, context):
        raise RuntimeError(f"no route to {place}")


def shown(error):
    return "".join(traceback.format_exception(error))


def test_a_source_that_fails_later(monkeypatch):
    monkeypatch.setitem(SOURCES._foreign, "far", [])
    monkeypatch.setitem(SOURCES._loaded, "far", Far)
    source = open_source(f"far:{PLACE}")
    with pytest.raises(TimeoutError):
        source.read()
    for _ in range(3):
        with pytest.raises((DeviceError, DataError)) as caught:
            source.read()
        assert SECRET not in shown(caught.value)
    with pytest.raises(DeviceError) as caught:
        source.close()
    assert SECRET not in shown(caught.value)
    assert SECRET not in source.name


@pytest.mark.parametrize("spec", [f"far:{PLACE}", f"fra:{PLACE}", PLACE.replace("far", "mqtt")])
def test_a_sink_that_does_not_open(monkeypatch, spec):
    monkeypatch.setitem(SINKS._foreign, "far", [type("Point", (), {"value": "far:FarSink"})])
    monkeypatch.setitem(SINKS._loaded, "far", FarSink)
    with pytest.raises(JetsegError) as caught, open_sink(spec, None):
        pass
    assert SECRET not in shown(caught.value)
    assert SECRET not in str(SourceAddress(spec))
    assert isinstance(caught.value, ConfigError)
