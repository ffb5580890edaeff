"""Writes one page per verb from the command line itself, at each build of the site."""

from __future__ import annotations

import enum
import inspect
from pathlib import Path
from types import UnionType
from typing import Literal, Union, get_args, get_origin

import pages
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from typer.core import TyperArgument, TyperCommand, TyperOption

from jetseg.cli.main import app

FOLDER = "reference/verbs"
_VALUES = {int: "INTEGER", float: "NUMBER", Path: "PATH"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lists the verbs in the navigation."""
    entries = [f"{FOLDER}/index.md", *({name: f"{FOLDER}/{name}.md"} for name in _verbs())]
    pages.fill(config.nav or [], f"{FOLDER}/*", entries)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages."""
    verbs = _verbs()
    made = {f"{FOLDER}/{name}.md": page(name, command) for name, command in verbs.items()}
    return pages.add({f"{FOLDER}/index.md": overview(verbs), **made}, files, config)


def overview(verbs: dict[str, TyperCommand]) -> str:
    """Returns the page that lists all verbs."""
    rows = [f"| [`jetseg {name}`]({name}.md) | {_first_line(command)} |" for name, command in verbs.items()]
    return "\n".join(
        [
            "# Verbs",
            "",
            "These pages are made from the command line itself; `jetseg VERB --help` prints the same.",
            "",
            "| verb | what it does |",
            "|---|---|",
            *rows,
            "",
            "Results go to stdout, progress and logs to stderr. Exit codes stand with the [errors](../api/errors.md).",
            "",
        ]
    )


def page(name: str, command: TyperCommand) -> str:
    """Returns the page of one verb."""
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    usage = " ".join([f"jetseg {name}", *(_argument(argument) for argument in arguments), "[OPTIONS]"])
    lines = [f"# jetseg {name}", "", f"    {usage}", "", inspect.cleandoc(command.help or ""), ""]
    if arguments:
        lines += ["## Arguments", "", "| argument | |", "|---|---|"]
        lines += [f"| `{_argument(argument)}` | {_cell(argument.help)} |" for argument in arguments]
    lines += ["", "## Options", ""] if options else []
    panels: dict[str, list[TyperOption]] = {}
    for option in options:
        panels.setdefault(option.rich_help_panel or "", []).append(option)
    for panel, members in panels.items():
        lines += [f"### {panel}", ""] if panel else []
        lines += ["| option | default | |", "|---|---|---|", *(_row(option) for option in members), ""]
    return "\n".join(lines) + "\n"


def _verbs() -> dict[str, TyperCommand]:
    group = typer.main.get_command(app)
    context = typer.Context(group, info_name="jetseg")
    commands = {name: group.get_command(context, name) for name in group.list_commands(context)}
    return {name: command for name, command in commands.items() if not command.hidden}


def _first_line(command: TyperCommand) -> str:
    return _cell(inspect.cleandoc(command.help or "").split("\n\n")[0])


def _argument(argument: TyperArgument) -> str:
    name = argument.metavar or argument.name.upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _row(option: TyperOption) -> str:
    names = " / ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    value = "" if option.is_flag or option.count else f" `{_value(option)}`"
    default = "required" if option.required else _default(option)
    return f"| {names}{value} | {default} | {_cell(option.help)} |"


def _value(option: TyperOption) -> str:
    if option.metavar:
        return str(option.metavar)
    annotation = option.type_descriptor.annotation
    if choices := _choices(annotation):
        return "\\|".join(choices)
    return next((text for kind, text in _VALUES.items() if annotation is kind), "TEXT")


def _choices(annotation: object) -> tuple[str, ...]:
    """The values of a Literal or an Enum, which may be optional."""
    if get_origin(annotation) in (Union, UnionType):
        return next(filter(None, map(_choices, get_args(annotation))), ())
    if get_origin(annotation) is Literal:
        return tuple(str(value) for value in get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return tuple(str(member.value) for member in annotation)
    return ()


def _default(option: TyperOption) -> str:
    default = option.default
    if default is None or default in ((), []) or callable(default):
        return ""
    if option.is_flag:
        return f"`{option.opts[0]}`" if default else (f"`{option.secondary_opts[0]}`" if option.secondary_opts else "")
    return f"`{default.value if isinstance(default, enum.Enum) else default}`"


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")
