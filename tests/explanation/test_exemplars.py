"""The frames that compression hurts most."""

import numpy as np

from jetseg.explanation.exemplars import group_frames, hurt_frames
from jetseg.explanation.observe import FrameRecord, Observation

CLASSES = ("road", "sign", "car")


def observation(frames):
    """Frames as (brightness, points right of the parent and of each child, lost pixels by child and class)."""
    records = tuple(
        FrameRecord(
            index, f"{index:02}", {"brightness": bright, "sharpness": 0.0, "contrast": 0.0}, right, np.array(lost)
        )
        for index, (bright, right, lost) in enumerate(frames)
    )
    return Observation((), (), (), (), (), records, (4, 4))


def test_frames_go_by_what_they_lose_on_average_over_the_children():
    frames = [
        (10, (90, 80, 90), [[0, 9, 1], [0, 0, 0]]),
        (20, (90, 84, 82), [[0, 1, 5], [0, 2, 6]]),
        (30, (90, 95, 91), [[1, 0, 0], [0, 0, 0]]),
    ]
    hurt = hurt_frames(observation(frames), CLASSES)
    assert [(frame.name, frame.lost, frame.children, frame.subject) for frame in hurt] == [
        ("01", 7.0, 2, "car"),
        ("00", 5.0, 1, "sign"),
    ]


def test_groups_share_a_class_and_name_what_most_of_them_are():
    dark = [(index, (90, 60 + index), [[0, 9, 1]]) for index in range(4)]
    bright = [(100 + index, (90, 89), [[0, 0, 1]]) for index in range(36)]
    seen = observation(dark + bright)
    (group,) = group_frames(seen, hurt_frames(seen, CLASSES))
    assert (group.subject, group.traits, len(group.frames)) == ("sign", ("dark",), 4)
    assert group.frames[0].name == "00"


def test_networks_that_lose_nothing_have_no_such_frames():
    seen = observation([(1, (90, 90), [[0, 0, 0]])])
    assert hurt_frames(seen, CLASSES) == []
    assert group_frames(seen, []) == []
