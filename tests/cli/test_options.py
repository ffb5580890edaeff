"""Options are read off the settings' models: types, bounds, repeated ones, and only what was given is passed on."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from jetseg.cli import main, options
from jetseg.config import Cli, Settings, validate_config
from jetseg.errors import ConfigError


class Work(Settings):
    """Settings of every kind that becomes an option."""

    count: int = Field(3, gt=0, description="How many.")
    share: float = Field(50.0, ge=0, le=100, description="Percent.")
    out_folder: Path | None = Field(None, description="Where to.")
    fast: bool = Field(False, description="Hurry.")
    careful: bool = Field(True, description="Look twice.")
    method: Literal["mse", "entropy"] | Literal["auto"] = Field("mse", description="How.")
    layers: Annotated[tuple[str, ...], Cli(metavar="LAYER")] = Field((), description="Which.")
    sizes: tuple[int, ...] | None = Field(None, description="Sizes.")
    budget: dict[str, float] = Field(default_factory=dict, description="By class.")
    extra: Annotated[dict[str, str], Cli(flag="--option", metavar="KEY=VALUE")] = Field(
        default_factory=dict, description="More."
    )
    backend: Annotated[str, Cli(metavar="NAME", registry="backends")] = Field("onnxruntime", description="Runtime.")
    inner: Annotated[bool, Cli(hidden=True)] = Field(False, description="Not for people.")


@pytest.fixture
def verb():
    """A verb with these options; `passed` is what it was called with."""
    passed: dict[str, Any] = {}

    @options.with_settings
    def work(
        source: Annotated[str, typer.Argument()],
        settings: Annotated[dict[str, Any], options.From(Work)],
        as_json: options.AsJson = False,
    ) -> None:
        """Works."""
        passed.update(source=source, settings=settings, as_json=as_json)

    app = typer.Typer(add_completion=False)
    app.command("work")(work)

    def call(*arguments: object):
        passed.clear()
        return CliRunner().invoke(app, [str(argument) for argument in arguments]), passed

    return call


def test_only_what_was_given_is_passed_on(verb):
    done, passed = verb("a")
    assert (done.exit_code, passed) == (0, {"source": "a", "settings": {}, "as_json": False})
    _, passed = verb("a", "--count", 3, "--json")
    assert passed["settings"] == {"count": 3}, "given, though it is the default"
    assert validate_config(Work, passed["settings"]).model_fields_set == {"count"}


def test_types_of_all_kinds(verb):
    _, passed = verb(
        *("a", "--share", "12.5", "--out-folder", "x/y", "--fast", "--no-careful", "--method", "auto"),
        *("--layers", "one", "--layers", "two", "--sizes", 1, "--sizes", 2),
        *("--budget", "car=0.5", "--budget", "tree=1", "--option", "a=b=c"),
    )
    found = validate_config(Work, passed["settings"])
    assert (found.share, found.out_folder, found.fast, found.careful) == (12.5, Path("x/y"), True, False)
    assert (found.method, found.layers, found.sizes) == ("auto", ("one", "two"), (1, 2))
    assert (found.budget, found.extra) == ({"car": 0.5, "tree": 1.0}, {"a=b": "c"})


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (("--count", "0"), "--count"),
        (("--count", "many"), "--count"),
        (("--share", "101"), "--share"),
        (("--share", "-1"), "--share"),
        (("--method", "magic"), "--method"),
        (("--inner",), "--inner"),
        (("--extra", "a=b"), "--extra"),
    ],
)
def test_bounds_and_unknown_options_are_wrong_usage(verb, arguments, flag):
    done, passed = verb("a", *arguments)
    assert (done.exit_code, passed) == (2, {})
    assert flag in done.output


def test_an_entry_without_an_equals_sign_names_its_option(verb):
    done, _ = verb("a", "--option", "nothing")
    assert isinstance(done.exception, ConfigError)
    assert "--option nothing has no equals sign" in str(done.exception)


def test_help_tells_defaults_bounds_and_registered_names(verb, monkeypatch):
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 300)
    done, _ = verb("--help")
    lines = {line.split()[1]: " ".join(line.split()) for line in done.output.splitlines() if " --" in line}
    assert "x>=1" in lines["--count"]
    assert "[default: 3]" in lines["--count"]
    assert "0<=x<=100" in lines["--share"]
    assert "LAYER" in lines["--layers"]
    assert "Which; may be repeated." in lines["--layers"]
    assert "Runtime: onnxruntime, tensorrt, tensorrt_rtx" in lines["--backend"]
    assert "KEY=VALUE" in lines["--option"]
    assert "Not for people" not in done.output


def test_messages_name_the_option_in_place_of_the_setting(verb):
    verb("a")
    said = main._with_flags("`count` is too large; see `jetseg work`, or give `extra` or `out_folder`.")
    assert said == "--count is too large; see `jetseg work`, or give --option or --out-folder."
    assert main._with_flags("`no_such_setting` stays.") == "`no_such_setting` stays."


def test_one_option_takes_a_number_and_numbers_with_names() -> None:
    from jetseg.engine.config import BuildConfig

    given: list[dict[str, object]] = []
    app = typer.Typer()

    @app.command()
    @options.with_settings
    def verb(settings: Annotated[dict[str, object], options.From(BuildConfig)]) -> None:
        given.append(settings)

    runner = CliRunner()
    for words in (["0.3"], ["dice=0.3"], ["0.2", "dice=0.3", "hd95_mm=1"]):
        result = runner.invoke(app, [part for word in words for part in ("--max-drop", word)])
        assert result.exit_code == 0, result.output
    assert given == [
        {"max_drop": "0.3"},
        {"task_drops": {"dice": "0.3"}},
        {"max_drop": "0.2", "task_drops": {"dice": "0.3", "hd95_mm": "1"}},
    ]
    assert BuildConfig.model_validate(given[2]).max_drop == 0.2
