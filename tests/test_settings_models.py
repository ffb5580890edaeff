"""Settings: changed like given ones, no odd numbers, all mistakes at once."""

import math
from typing import Annotated

import pytest
from pydantic import Field

from jetseg.config import Record, Settings, changed, validate_config
from jetseg.errors import ConfigError
from jetseg.kit.config import VerifyConfig


class Speed(Settings):
    frames: int = Field(3, gt=0, description="How many.")
    seconds: float = Field(0.5, description="How long.")
    name: str | None = None


def test_changes_are_checked_and_what_was_not_given_stays_not_given():
    given = Speed(frames=5)
    other = changed(given, seconds=1)
    assert (other.frames, other.seconds) == (5, 1.0)
    assert other.model_fields_set == {"frames", "seconds"}
    assert given.seconds == 0.5
    with pytest.raises(ConfigError) as caught:
        changed(given, frames=0, seconds="soon", colour="red")
    assert all(f"  {key}: " in str(caught.value) for key in ("frames", "seconds", "colour"))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused(number):
    class Written(Record):
        value: float
        values: tuple[Annotated[float, Field(gt=-1e9)], ...] = ()

    with pytest.raises(ConfigError, match="value"):
        validate_config(Written, {"value": number})
    with pytest.raises(ConfigError, match=r"values\.0"):
        validate_config(Written, {"value": 1.0, "values": (number,)})


def test_a_message_about_very_many_mistakes_is_short():
    with pytest.raises(ConfigError) as caught:
        validate_config(VerifyConfig, {f"{number}{'k' * 5000}": 1 for number in range(1000)})
    assert str(caught.value).count("\n") == 21
    assert "and 980 more." in str(caught.value)
    assert len(str(caught.value)) < 20_000
