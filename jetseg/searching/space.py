"""What a search chooses from: a few numbers and words that steer a whole chain."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from jetseg.engine.backend import Backend, find_backend
from jetseg.errors import ConfigError
from jetseg.quantization.qdq.schemes import SCHEMES
from jetseg.searching.config import SearchConfig

Value = str | float
Params = Mapping[str, Value]


@dataclass(frozen=True)
class Words:
    """A choice between words.

    Attributes:
        options: The words, the usual one first.
    """

    options: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join(self.options)

    @property
    def usual(self) -> str:
        """The one that is tried first."""
        return self.options[0]

    def read(self, value: object) -> str:
        """Returns a value if it is one of them.

        Raises:
            ValueError: It is not.
        """
        if value not in self.options:
            raise ValueError(f"must be one of {self}")
        return str(value)


@dataclass(frozen=True)
class Numbers:
    """A choice between numbers.

    Attributes:
        low: The least one.
        high: The greatest one.
        usual: The one that is tried first.
        log: Ratios count, not differences.
        step: Distance of the numbers; None for all between the ends.
    """

    low: float
    high: float
    usual: float
    log: bool = False
    step: float | None = None

    def __str__(self) -> str:
        step = f" in steps of {self.step:g}" if self.step is not None else ""
        return f"{self.low:g} to {self.high:g}{step}"

    def read(self, value: object) -> float:
        """Returns a value if it lies between the ends; text is read as a number.

        Raises:
            ValueError: It does not.
        """
        number = float(value) if isinstance(value, str | int | float) else math.nan
        if not self.low <= number <= self.high:
            raise ValueError(f"must be a number from {self.low:g} to {self.high:g}")
        return number


Space = Mapping[str, Words | Numbers]


def space_of(config: SearchConfig) -> Space:
    """Returns what is chosen from, for a backend and a budget; what is fixed is not in it.

    Raises:
        ConfigError: There is no such choice to fix, or not with that value.
    """
    whole = _whole_space(config, find_backend(config.backend))
    fixed_of(config)
    return {name: choice for name, choice in whole.items() if name not in config.fix}


def fixed_of(config: SearchConfig) -> dict[str, Value]:
    """Returns the values of the choices that are not searched.

    Raises:
        ConfigError: There is no such choice, or not with that value.
    """
    whole = _whole_space(config, find_backend(config.backend))
    fixed: dict[str, Value] = {}
    for name, text in config.fix.items():
        if name not in whole:
            raise ConfigError(f"`fix`: there is no choice {name}.", f"The choices are {', '.join(whole)}.")
        try:
            fixed[name] = whole[name].read(text)
        except ValueError as error:
            raise ConfigError(f"`fix`: {name} {error}, and is {text!r}.") from error
    return fixed


def usual_of(space: Space) -> dict[str, Value]:
    """Returns the usual value of each choice."""
    return {name: choice.usual for name, choice in space.items()}


def _whole_space(config: SearchConfig, backend: Backend) -> Space:
    whole: dict[str, Words | Numbers] = {
        "input_scale": Numbers(0.5, 1.0, 1.0, step=0.125),
        "criterion": Words(("taylor", "activation", "magnitude", "bn-scale")),
        "evenness": Numbers(1.0, 6.0, 3.0),
        "max_ratio": Numbers(0.6, 0.95, 0.9),
        "low_rank": Words(("none", "spatial", "tucker")),
        "energy": Numbers(0.8, 0.98, 0.9),
        "distillation": Words(("kd", "none", "cwd", "dist")),
        "distillation_weight": Numbers(0.3, 5.0, 1.0, log=True),
        "lr": Numbers(2e-4, 5e-3, 1e-3, log=True),
        "batch_size": Words(("8", "4", "16")),
    }
    if not config.has_budget:
        whole["speedup"] = Numbers(1.2, 4.0, 2.0, log=True)
    if config.precision == "int8":
        whole["mixed"] = Words(("no", "yes"))
        schemes = tuple(name for name in backend.schemes if SCHEMES[name].precision == config.precision)
        if len(schemes) > 1:
            whole["scheme"] = Words(schemes)
        if backend.arithmetic == "tensorrt":
            whole["placement"] = Words(("conv-inputs", "full"))
    if "sparse_weights" in backend.options.model_fields:
        whole["two_four"] = Words(("no", "yes"))
    return whole
