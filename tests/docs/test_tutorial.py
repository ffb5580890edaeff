"""The notebook of the tutorial runs, and its rendering holds what it gave."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "tutorial" / "first-engine.ipynb"


@pytest.fixture(scope="module")
def hook():
    spec = importlib.util.spec_from_file_location("notebook_hook", ROOT / "docs" / "hooks" / "notebook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rendering_keeps_text_code_and_results(hook):
    cells = [
        {"cell_type": "markdown", "source": ["# Title"]},
        {"cell_type": "code", "source": ["a = 2\n", "a + 1"], "outputs": []},
    ]
    notebook = {"cells": cells}
    hook.execute(notebook)
    assert hook.markdown(notebook) == '# Title\n\n```python\na = 2\na + 1\n```\n\n```text title="gives"\n3\n```\n'


def test_the_notebook_uses_public_names_only(hook):
    """A reader needs nothing but `import jetseg`."""
    code = "\n".join("".join(cell["source"]) for cell in hook.read(NOTEBOOK)["cells"] if cell["cell_type"] == "code")
    assert re.findall(r"^(?:from|import) +(\S+)", code, re.MULTILINE) == ["pathlib", "jetseg"]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_notebook_runs(hook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notebook = hook.read(NOTEBOOK)
    hook.execute(notebook)
    assert (tmp_path / "runs" / "tutorial" / "student.int8.onnx").is_file()
    assert all("mIoU" in text for text in ["".join(notebook["cells"][-2]["outputs"][0]["data"]["text/plain"])])
