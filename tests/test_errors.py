import inspect

import pytest

from jetseg import errors
from jetseg.installation import install_hint


def error_classes() -> dict[str, type[errors.JetsegError]]:
    members = inspect.getmembers(errors, inspect.isclass)
    return {name: cls for name, cls in members if issubclass(cls, errors.JetsegError)}


def test_the_tree_in_the_docstring_is_the_real_one():
    parents = {"JetsegError": None}
    trail: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        name = next((word for word in line.replace("│", " ").split() if word.endswith("Error")), None)
        if name is None:
            continue
        depth = line.index(name) // 4
        trail = [*trail[:depth], name]
        if depth:
            parents[name] = trail[-2]
    assert parents == {
        name: None if name == "JetsegError" else cls.__mro__[1].__name__ for name, cls in error_classes().items()
    }


@pytest.mark.parametrize(
    ("base", "code"), [(errors.InputError, 2), (errors.UnavailableError, 3), (errors.QualityError, 1)]
)
def test_exit_codes_are_inherited(base, code):
    family = [cls for cls in error_classes().values() if issubclass(cls, base)]
    assert len(family) > 1
    assert {cls.exit_code for cls in family} == {code}


def test_a_message_says_what_was_found_and_what_to_do():
    error = errors.DataError("a.png is cut off.", "Copy it again.")
    assert (error.found, error.fix) == ("a.png is cut off.", "Copy it again.")
    assert str(error) == "a.png is cut off. Copy it again."
    assert str(errors.DataError("a.png is cut off.")) == "a.png is cut off."


def test_a_missing_library_names_the_extra():
    error = errors.MissingDependencyError("cv2", "cpu", "reads images")
    assert str(error) == f"cv2 reads images, and it is not installed. {install_hint('cpu')}"
