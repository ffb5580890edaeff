"""Parts by name: those of other packages come by entry points, and their mistakes are told plainly."""

import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from jetseg import registry
from jetseg.errors import ConfigError, MissingDependencyError


class Part:
    suffix = ".part"

    def open(self) -> None:
        """Opens it."""


@pytest.fixture
def parts(monkeypatch):
    """Gives a function that makes a registry with entry points, each as name and value."""
    foreign = ModuleType("foreign_package")
    foreign.Part, foreign.Empty = Part, object()
    monkeypatch.setitem(sys.modules, "foreign_package", foreign)

    def make(*points: tuple[str, str], needs: tuple[str, ...] = ("suffix", "open")) -> registry.Registry:
        found = [EntryPoint(name, value, "jetseg.parts") for name, value in points]
        monkeypatch.setattr(registry, "entry_points", lambda group: found if group == "jetseg.parts" else [])
        own = {"path": "pathlib:Path", "gone": "jetseg.no_such_module:Part"}
        return registry.Registry("part", "jetseg.parts", own, needs)

    return make


def test_a_part_of_another_package_stands_beside_the_own_ones(parts):
    found = parts(("zebra", "foreign_package:Part"), ("ant", "foreign_package:Part"))
    assert found.names() == ("path", "gone", "ant", "zebra")
    assert "zebra" in found
    assert "lion" not in found
    assert found.get("zebra") is Part


def test_nothing_is_imported_before_it_is_asked_for(parts):
    found = parts(("broken", "no_such_package:Part"))
    assert "broken" in found.names()
    assert found.get("path").__name__ == "Path"


def test_an_unknown_name_lists_those_that_exist(parts):
    with pytest.raises(ConfigError, match="no part named lion. Choose from: path, gone, ant"):
        parts(("ant", "foreign_package:Part")).get("lion")


def test_two_packages_with_one_name_are_told(parts):
    found = parts(("ant", "foreign_package:Part"), ("ant", "foreign_package:Empty"))
    with pytest.raises(ConfigError, match="Several packages bring a part named ant: foreign_package:Part, foreign_"):
        found.get("ant")


def test_a_package_found_twice_is_one(parts):
    assert parts(("ant", "foreign_package:Part"), ("ant", "foreign_package:Part")).get("ant") is Part


def test_an_own_part_wins_over_a_foreign_one(parts):
    found = parts(("path", "foreign_package:Part"))
    assert found.names().count("path") == 1
    assert found.get("path") is not Part


@pytest.mark.parametrize("value", ["no_such_package:Part", "foreign_package:Nothing"])
def test_a_broken_package_is_named_with_what_python_said(parts, value):
    with pytest.raises(ConfigError, match=rf"The part ant \({value}\) failed: \w+Error") as caught:
        parts(("ant", value)).get("ant")
    assert "repair or uninstall" in str(caught.value)


def test_a_missing_library_keeps_its_exit_code(parts, monkeypatch):
    class Lacking(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise MissingDependencyError("torch", "train", "trains")

    monkeypatch.setitem(sys.modules, "lacking_package", Lacking("lacking_package"))
    with pytest.raises(MissingDependencyError) as caught:
        parts(("ant", "lacking_package:Part")).get("ant")
    assert caught.value.exit_code == 3


def test_a_part_that_lacks_attributes_is_refused_by_their_names(parts):
    with pytest.raises(ConfigError, match=r"lacks suffix, open\. Its class must have: suffix, open"):
        parts(("ant", "foreign_package:Empty")).get("ant")


def test_all_own_parts_of_jetseg_can_be_imported():
    pytest.importorskip("torch")
    for kind in registry.REGISTRIES.values():
        for name in kind.own:
            assert all(hasattr(kind.get(name), attribute) for attribute in kind.needs), name


def test_a_fault_of_a_part_names_the_part_and_its_package(parts):
    found = parts(("ant", "foreign_package:Part"))
    told = r"part ant \(foreign_package:Part\) failed: ValueError: no number"
    with pytest.raises(ConfigError, match=told) as caught, found.calling("ant"):
        raise ValueError("no number")
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(MissingDependencyError), found.calling("ant"):
        raise MissingDependencyError("torch", "train", "trains")
    with pytest.raises(ValueError, match="our own"), found.calling("path"):
        raise ValueError("our own")
