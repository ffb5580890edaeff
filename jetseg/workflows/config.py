"""Settings that belong to a workflow and to none of its stages, and how settings of several stages are told apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field

from jetseg.config import Cli, Settings, validate_config
from jetseg.errors import ConfigError
from jetseg.quantization.config import Policy


class StartRanges(Settings):
    """How a network that has no ranges yet is calibrated before quantization-aware training."""

    images: int = Field(64, gt=0, description="How many images it is calibrated on first, if it has no ranges.")
    placement: Policy | None = Field(
        None, description="Where quantizers stand; by default where the ranges were made for, and conv-inputs without."
    )


class ImportConfig(Settings):
    """How a network from elsewhere is built, and which of its outputs are the logits."""

    model_options: Annotated[dict[str, Any], Cli(flag="--model-option", metavar="KEY=VALUE")] = Field(
        default_factory=dict, description="Further argument of the factory, as in width=24."
    )
    output: Annotated[str | None, Cli(metavar="PLACE")] = Field(
        None,
        description="Where the logits are in what the network returns: a key, as in logits, or a position, as in 0; "
        "found by itself where that is clear.",
    )


def validate_each(values: Mapping[str, Any], *models: type[BaseModel]) -> list[Any]:
    """Builds the settings of several models from one set of values; each takes those that it knows.

    Raises:
        ConfigError: Some are wrong, or no model knows them; all mistakes are named together.
    """
    known = {name for model in models[1:] for name in model.model_fields}
    built, mistakes = [], {}
    for index, model in enumerate(models):
        own = {
            name: value
            for name, value in values.items()
            if name in model.model_fields or (index == 0 and name not in known)
        }
        try:
            built.append(validate_config(model, own))
        except ConfigError as error:
            mistakes.update(dict.fromkeys(error.found.splitlines()))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return built
