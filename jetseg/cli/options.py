"""Options that follow from settings: names, types, bounds and help are read off the models, never written again."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import annotated_types
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from jetseg.config import Cli, validate_config
from jetseg.errors import ConfigError
from jetseg.main_thread import LimitConfig, limit
from jetseg.registry import DATASETS, REGISTRIES
from jetseg.trust import trust

Verb = TypeVar("Verb", bound=Callable[..., None])
FLAGS: dict[str, str] = {}
"""Option of each setting of the verb that runs, for messages."""

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
_DATA = typer.Option("--data", metavar="SPEC", help=f"Dataset, NAME:PLACE; names: {', '.join(DATASETS.names())}.")
Data = Annotated[str | None, _DATA]
NeededData = Annotated[str, _DATA]
Manifest = Annotated[
    Path | None, typer.Option("--manifest", metavar="FILE", help="Manifest, for files that have none beside them.")
]
Key = Annotated[
    Path | None,
    typer.Option(
        "--key",
        metavar="PUB",
        help="Public key of minisign: what it did not sign is refused. By default that of JETSEG_KEY, or of your "
        "settings.",
    ),
]

_Trust = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        metavar="FACTORY",
        help="A factory, package.module:factory, that checkpoints may name though it is not jetseg's; may be repeated.",
    ),
]


@dataclass(frozen=True)
class From:
    """Marks a parameter of a verb that gets, as a dictionary, the settings of a model that the user gave.

    Attributes:
        model: The settings; each field becomes an option.
        leave_out: Fields that do not.
    """

    model: type[BaseModel]
    leave_out: tuple[str, ...] = ()

    def joined(self) -> dict[str, str]:
        """Returns the mappings that share the option of a number, by the number's name."""
        marks = ((name, part) for name, info in self.model.model_fields.items() for part in info.metadata)
        return {part.joins: name for name, part in marks if isinstance(part, Cli) and part.joins is not None}

    def fields(self) -> Iterator[tuple[str, FieldInfo, Cli]]:
        """Yields name, field and looks of each setting that has an option."""
        for name, info in self.model.model_fields.items():
            looks = next((part for part in info.metadata if isinstance(part, Cli)), Cli())
            if name not in self.leave_out and not looks.hidden and looks.joins is None and _can_be_option(info):
                yield name, info, looks


Limits = Annotated[dict[str, Any], From(LimitConfig)]
"""What the process may take, for verbs that run networks; they give it to `set_limits`."""


def set_limits(given: Mapping[str, Any]) -> None:
    """Sets what the process may take, of which the user gave some."""
    limit(validate_config(LimitConfig, given))


def with_settings(verb: Verb) -> Verb:
    """Gives a verb an option for each setting of the models that its parameters are marked with; see `From`.

    Only what stands on the command line is passed on: defaults are the models' own business.
    """
    hints = get_type_hints(verb, include_extras=True)
    signature = inspect.signature(verb)
    groups = {name: mark for name, hint in hints.items() if (mark := _mark(hint)) is not None}
    parameters: dict[str, inspect.Parameter] = {
        "ctx": inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    }
    for name, parameter in signature.parameters.items():
        if name in groups:
            joined = groups[name].joined()
            for key, info, looks in groups[name].fields():
                parameters.setdefault(key, _parameter(key, info, looks, takes_pairs=key in joined))
        else:
            parameters[name] = parameter.replace(annotation=hints[name])

    @wraps(verb)
    def run(**values: Any) -> None:  # noqa: ANN401 - whatever typer parsed
        context: typer.Context = values.pop("ctx")
        given = {name: value for name, value in values.items() if _was_given(context, name)}
        FLAGS.update({option.name: option.opts[0] for option in context.command.params if option.name and option.opts})
        passed = {name: values[name] for name in signature.parameters if name not in groups}
        for name, mark in groups.items():
            own = {key: info for key, info, _ in mark.fields()}
            passed[name] = {key: _value(given[key], own[key], FLAGS[key]) for key in own if key in given}
            for number, mapping in mark.joined().items():
                if number in passed[name]:
                    passed[name] |= _apart(passed[name].pop(number), number, mapping, FLAGS[number])
        verb(**passed)

    required_first = sorted(parameters.values(), key=lambda parameter: parameter.default is not inspect.Parameter.empty)
    run.__signature__ = inspect.Signature(required_first)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in required_first}
    return run  # type: ignore[return-value]


def with_trust(verb: Verb) -> Verb:
    """Gives a verb that opens checkpoints the option by which a user lets them name a factory."""
    signature = inspect.signature(verb)
    trusted = inspect.Parameter("trust", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_Trust)

    @wraps(verb)
    def run(**values: Any) -> None:  # noqa: ANN401 - whatever typer parsed
        trust(values.pop("trust") or ())
        verb(**values)

    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), trusted])  # type: ignore[attr-defined]
    run.__annotations__ = {**get_type_hints(verb, include_extras=True), "trust": _Trust}
    return run  # type: ignore[return-value]


def pairs(given: list[str], flag: str) -> dict[str, str]:
    """Splits NAME=VALUE; whether the value is right is checked with the other settings.

    Raises:
        ConfigError: An entry has no equals sign.

    >>> pairs(["pedestrian=0.2"], "--class-budget")
    {'pedestrian': '0.2'}
    """
    found = {}
    for entry in given:
        name, equals, value = entry.rpartition("=")
        if not equals:
            raise ConfigError(f"{flag} {entry} has no equals sign.", f"Write it as {flag} NAME=VALUE.")
        found[name] = value
    return found


def _mark(hint: Any) -> From | None:  # noqa: ANN401 - any annotation
    metadata = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((part for part in metadata if isinstance(part, From)), None)


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")


def _apart(entries: list[str], number: str, mapping: str, flag: str) -> dict[str, Any]:
    """Sorts what an option was given that takes a number and NAME=VALUE."""
    plain = [entry for entry in entries if "=" not in entry]
    named = pairs([entry for entry in entries if "=" in entry], flag)
    return ({number: plain[-1]} if plain else {}) | ({mapping: named} if named else {})


def _parameter(name: str, info: FieldInfo, looks: Cli, *, takes_pairs: bool = False) -> inspect.Parameter:
    """Returns the parameter that typer makes an option of."""
    kind, optional = _plain_type(info.annotation)
    flag = looks.flag or f"--{name.replace('_', '-')}"
    text = info.description or ""
    if looks.registry is not None:
        text = f"{text.rstrip('.')}: {', '.join(REGISTRIES[looks.registry].names())}."
    default: Any = None if info.is_required() else info.get_default(call_default_factory=True)
    annotation: Any = kind
    metavar = looks.metavar
    if takes_pairs:
        text = f"{text.rstrip('.')} (default {default}); NAME=AMOUNT for one metric; may be repeated."
        metavar = metavar or "NUMBER|NAME=AMOUNT"
        kind = list[str]
        annotation, default, optional = kind, None, True
    elif _is_sequence(kind) or _is_mapping(kind):
        annotation, default, optional = list[str], None, True
        metavar = metavar or ("NAME=VALUE" if _is_mapping(kind) else None)
        text = f"{text.rstrip('.')}; may be repeated."
    names = [flag]
    if kind is bool and default is not False:
        names = [f"{flag}/--no-{flag.removeprefix('--')}"]
    bounds = _bounds(info, kind) if kind in (int, float) else {}
    option = typer.Option(*names, help=text, metavar=metavar, show_default=default is not None, **bounds)
    return inspect.Parameter(
        name,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=default,
        annotation=Annotated[annotation | None if optional or default is None else annotation, option],
    )


def _bounds(info: FieldInfo, kind: type) -> dict[str, Any]:
    """Returns the bounds that typer can check; the models check all of them."""
    found: dict[str, Any] = {}
    for part in info.metadata:
        if isinstance(part, annotated_types.Ge):
            found["min"] = part.ge
        elif isinstance(part, annotated_types.Gt) and kind is int:
            found["min"] = int(part.gt) + 1  # type: ignore[call-overload]
        elif isinstance(part, annotated_types.Le):
            found["max"] = part.le
    return found


def _value(value: Any, info: FieldInfo, flag: str) -> Any:  # noqa: ANN401 - whatever typer parsed
    kind, _ = _plain_type(info.annotation)
    if _is_mapping(kind):
        return pairs(value, flag)
    return tuple(value) if _is_sequence(kind) else value


def _can_be_option(info: FieldInfo) -> bool:
    kind, _ = _plain_type(info.annotation)
    if _is_mapping(kind) or _is_sequence(kind):
        parts = [_plain_type(part)[0] for part in get_args(kind)]
        plain = (str, int, float, Ellipsis, Any, *([Path] if _is_mapping(kind) else ()))
        return all(part in plain or get_origin(part) is Literal for part in parts)
    return kind in (str, int, float, bool, Path) or get_origin(kind) is Literal


def _plain_type(annotation: Any) -> tuple[Any, bool]:  # noqa: ANN401 - any annotation
    """Returns a type without None and without what is annotated to it, and whether it may be None."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        literals = [get_origin(part) is Literal for part in parts]
        if len(parts) > 1 and all(literals):
            joined: Any = Literal[tuple(value for part in parts for value in get_args(part))]
            return joined, type(None) in get_args(annotation)
        inner, _ = _plain_type(parts[0])
        return inner, type(None) in get_args(annotation)
    return annotation, False


def _is_sequence(kind: Any) -> bool:  # noqa: ANN401 - any annotation
    return get_origin(kind) is list or (get_origin(kind) is tuple and Ellipsis in get_args(kind))


def _is_mapping(kind: Any) -> bool:  # noqa: ANN401 - any annotation
    return get_origin(kind) in (dict, Mapping)
