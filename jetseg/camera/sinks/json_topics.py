"""Figures and events of a run as JSON topics, for recordings and live views."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from jetseg.camera.sinks.background import Note
from jetseg.monitor.events import Event
from jetseg.monitor.json_text import json_text

STATISTICS_TOPIC, EVENTS_TOPIC = "/jetseg/statistics", "/jetseg/events"
_NUMBER, _TEXT, _OBJECT = {"type": "number"}, {"type": "string"}, {"type": "object"}
_SCHEMAS: dict[str, tuple[str, dict[str, Any]]] = {
    STATISTICS_TOPIC: (
        "jetseg.Statistics",
        {
            "at": _NUMBER,
            "frames_per_second": _NUMBER,
            "frame_age_ms": _OBJECT,
            "stage_ms": _OBJECT,
            "summary": _OBJECT,
            "host": {"type": ["object", "null"]},
            "further": _OBJECT,
        },
    ),
    EVENTS_TOPIC: (
        "jetseg.Event",
        {"sequence": _NUMBER, "at": _NUMBER, "kind": _TEXT, "severity": _TEXT, "text": _TEXT, "values": _OBJECT},
    ),
}


def schema_of(topic: str) -> tuple[str, dict[str, Any]]:
    """Returns name and JSON schema of a topic."""
    name, properties = _SCHEMAS[topic]
    return name, {"title": name, "type": "object", "properties": properties}


def note_message(note: Note) -> tuple[str, bytes]:
    """Returns the topic of figures or of an event, and their JSON."""
    if isinstance(note, Event):
        return EVENTS_TOPIC, json_text(asdict(note))
    return STATISTICS_TOPIC, json_text(note.as_dict())
