"""What every peer on a bus does: a camera that publishes, and a subscriber that keeps what comes back.

Messages are made and read by rosbags' own definitions, not by jetseg. A moment is that of the machine's monotonic
clock, which all processes share.
"""

import json
import sys
import time

import numpy as np
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_JAZZY)
IMAGE = "sensor_msgs/msg/Image"
HEIGHT, WIDTH = 360, 480


def picture(number, moment):
    """Returns frame `number`, one of three colors, as CDR, and its stamp."""
    types, stamp = STORE.types, round(moment * 1e9)
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[..., number % 3] = 255
    header = types["std_msgs/msg/Header"](
        stamp=types["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9), frame_id="front"
    )
    message = types[IMAGE](
        header=header, height=HEIGHT, width=WIDTH, encoding="bgr8", is_bigendian=0, step=WIDTH * 3, data=image.ravel()
    )
    return bytes(STORE.serialize_cdr(message, IMAGE)), stamp


class Report:
    """What was sent and what came back."""

    def __init__(self):
        self.sent, self.received, self.wrong = {}, [], []

    def add(self, content):
        """Takes a class map."""
        arrived = time.perf_counter()
        message = STORE.deserialize_cdr(content, IMAGE)
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        number = self.sent.get(stamp, (None,))[0]
        right = (
            number is not None
            and message.header.frame_id == "front"
            and (message.encoding, message.height, message.width) == ("mono8", HEIGHT, WIDTH)
            and bool((message.data == number % 3).all())
            and bytes(STORE.serialize_cdr(message, IMAGE)) == bytes(content)
        )
        (self.received if right else self.wrong).append((stamp, arrived))

    def publish(self, send, count, rate):
        """Publishes frames at their pace."""
        began = time.perf_counter()
        for number in range(count):
            time.sleep(max(0.0, began + number / rate - time.perf_counter()))
            content, stamp = picture(number, time.time())
            self.sent[stamp] = number, time.perf_counter()
            send(content)

    def finish(self, **more):
        """Waits for the last class maps, and tells."""
        until = time.perf_counter() + 2
        while len(self.received) < len(self.sent) and time.perf_counter() < until:
            time.sleep(0.02)
        sent = {stamp: moment for stamp, (_, moment) in self.sent.items()}
        say(json.dumps({"sent": sent, "received": self.received, "wrong": len(self.wrong), **more}))


def say(text):
    """Tells the test how far it is."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def await_true(condition, seconds=15):
    """Waits until something is so, or ends the process."""
    until = time.perf_counter() + seconds
    while not condition():
        if time.perf_counter() > until:
            sys.exit("nobody came")
        time.sleep(0.01)
