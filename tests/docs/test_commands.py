"""Every `jetseg ...` in the documentation names a verb, options and values that exist."""

import enum
import json
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
import typer

from jetseg.cli.main import app
from jetseg.recipes.stages import KINDS

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted([*ROOT.glob("engines/*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("docs/**/*.ipynb")]),
]
GROUP = typer.main.get_command(app)
CONTEXT = typer.Context(GROUP, info_name="jetseg")
PREFIX = re.compile(r"^(?:\.venv/bin/|sudo )*jetseg +(?=[a-z])")


def read(page):
    text = page.read_text("utf-8")
    return (
        "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"]) if page.suffix == ".ipynb" else text
    )


def whole_commands(text):
    """Lines of code that begin with jetseg, continued lines joined."""
    lines = re.sub(r" *\\\n *", " ", text).splitlines()
    return [line.strip() for line in lines if line.startswith("    ") and PREFIX.match(line.strip())]


def mentioned_commands(text):
    """The same in backticks, where it may be a part only."""
    return [command for command in re.findall(r"`(jetseg [^`]+)`", text) if PREFIX.match(command)]


@cache
def verb(name):
    """A verb that is listed; an old name is none."""
    return GROUP.get_command(CONTEXT, name) if name in GROUP.list_commands(CONTEXT) else None


def allowed(option):
    """The values that an option takes, where they are a list."""
    kind = option.type_descriptor.annotation
    if get_origin(kind) is Literal:
        return [str(value) for value in get_args(kind)]
    return [str(member.value) for member in kind] if isinstance(kind, type) and issubclass(kind, enum.Enum) else None


def problems(command):
    words = shlex.split(PREFIX.sub("", command).replace("\u2026", "..."), comments=True)
    name, rest = words[0], words[1:]
    if (known := verb(name)) is None:
        return [f"there is no verb {name}"]
    options = {word: option for option in known.params for word in (*option.opts, *option.secondary_opts)}
    found = []
    for position, word in enumerate(rest):
        if not word.startswith("--"):
            continue
        flag, equals, value = word.partition("=")
        if flag == "--help":
            continue
        if flag not in options:
            found.append(f"{name} has no option {flag}")
            continue
        following = value if equals else rest[position + 1] if position + 1 < len(rest) else None
        choices = allowed(options[flag])
        if choices and following is not None and following not in choices:
            found.append(f"{name} {flag} takes {choices}, not {following}")
    return found


def lacks(command):
    """What a whole command needs and does not have: arguments and required options."""
    words = shlex.split(PREFIX.sub("", command), comments=True)
    known = verb(words[0])
    options = {word: option for option in known.params for word in (*option.opts, *option.secondary_opts)}
    values = {position + 1 for position, word in enumerate(words) if word in options and not options[word].is_flag}
    given = sum(not word.startswith("-") and position not in values for position, word in enumerate(words)) - 1
    arguments = [parameter.required for parameter in known.params if parameter.param_type_name == "argument"]
    needed = sum(arguments)
    required = [p.opts[0] for p in known.params if p.param_type_name == "option" and p.required]
    missing = [f"{words[0]} needs {option}" for option in required if option not in words]
    return missing + (
        [f"{words[0]} needs {needed} arguments, not {given}"] if given < needed or given > len(arguments) == 0 else []
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_exist(page):
    text = read(page)
    whole = whole_commands(text)
    wrong = [
        f"{command}: {problem}" for command in [*whole, *mentioned_commands(text)] for problem in problems(command)
    ]
    assert wrong == []
    assert [f"{command}: {problem}" for command in whole for problem in lacks(command)] == []


def test_a_wrong_command_is_found():
    text = "    jetseg calibrate a.onnx --pictures 3\n    jetseg calibrated a.onnx\n    jetseg calibrate a.onnx --method best\n"
    assert [len(problems(command)) for command in whole_commands(text)] == [1, 1, 1]
    assert lacks("jetseg eval --split test") == ["eval needs --data", "eval needs 1 arguments, not 0"]


def test_stages_of_recipes_are_all_listed():
    table = re.findall(
        r"^\| `([a-z-]+)` \| `", (ROOT / "docs" / "how-to" / "recipes.md").read_text("utf-8"), re.MULTILINE
    )
    assert table == list(KINDS)
