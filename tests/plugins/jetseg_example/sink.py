"""A sink: the share of light pixels of each frame, as lines of text."""

from contextlib import contextmanager


class Shares:
    """shares:FILE."""

    form = "shares:FILE"
    wants_overlay = False

    @staticmethod
    @contextmanager
    def open(place, context):
        """Opens the file for as long as the run lasts."""
        del context
        with open(place, "w") as stream:  # noqa: PTH123 - a sink as short as can be
            yield Shares(stream)

    def __init__(self, stream):
        self._stream = stream

    def write(self, result):
        """Writes one line."""
        self._stream.write(f"{result.frame.name} {(result.class_map_hw_u8 == 1).mean():.3f}\n")
