"""Too little memory is said as that, wherever it ran out."""

import pytest

from jetseg.cli.main import _explain


class ArrayMemoryError(MemoryError):
    """As NumPy raises it: a subclass."""


@pytest.mark.parametrize("error", [MemoryError(), ArrayMemoryError()])
def test_a_memory_error_is_no_bug_of_ours(error, capsys):
    assert _explain(error) == 3
    assert "The memory does not suffice for this command" in " ".join(capsys.readouterr().err.split())
