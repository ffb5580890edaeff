"""A signal while a foreign library works is noticed there, and delivered when it is done."""

import signal

import pytest

from jetseg.engine.tensorrt.interrupt import interruptible
from jetseg.main_thread import SIGNALS
from jetseg.process_watch import ProcessWatch


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noticed_inside_and_raised_at_the_end(number):
    with ProcessWatch(lambda: "test") as watch:
        with pytest.raises(KeyboardInterrupt), interruptible() as interrupted:
            assert not interrupted()
            signal.raise_signal(number)
            assert interrupted()
            assert watch.failure is None
        assert watch.failure.exit_code == 128 + number
