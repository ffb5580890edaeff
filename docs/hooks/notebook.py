"""Renders notebooks to Markdown for the site, and runs their cells for the tests. Needs no Jupyter.

    python docs/hooks/notebook.py docs/tutorial/first-engine.ipynb

runs a notebook and writes what its cells return back into it.
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds a page for each notebook of the site."""
    import pages  # here, because it needs MkDocs, which those who only run a notebook need not have

    found = [file for file in files if file.src_path.endswith(".ipynb")]
    made = {
        file.src_path.removesuffix(".ipynb") + ".md": markdown(read(Path(file.abs_src_path or ""))) for file in found
    }
    return pages.add(made, files, config)


def read(path: Path) -> dict[str, Any]:
    """Reads a notebook."""
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def markdown(notebook: dict[str, Any]) -> str:
    """Returns the notebook as Markdown, with the results that it holds."""
    parts: list[str] = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        outputs = ["".join(output["data"]["text/plain"]) for output in cell.get("outputs", ())]
        parts += [f'```text title="gives"\n{output}\n```' for output in outputs]
    return "\n\n".join(parts) + "\n"


def execute(notebook: dict[str, Any]) -> None:
    """Runs the code cells in order, in one namespace, and stores what the last expression of each gives."""
    names: dict[str, Any] = {"__name__": "__main__"}
    count = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        count += 1
        value = _run("".join(cell["source"]), f"<cell {count}>", names)
        text = None if value is None else value if isinstance(value, str) else repr(value)
        cell["execution_count"] = count
        cell["outputs"] = [] if text is None else [_output(text, count)]


def _run(source: str, name: str, names: dict[str, Any]) -> object:
    """Runs one cell; returns the value of its last line if that is an expression."""
    tree = ast.parse(source, filename=name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), names)
    if not isinstance(last, ast.Expr):
        return None
    return eval(compile(ast.Expression(last.value), name, "eval"), names)


def _output(text: str, count: int) -> dict[str, Any]:
    lines = text.splitlines(keepends=True)
    return {"output_type": "execute_result", "execution_count": count, "metadata": {}, "data": {"text/plain": lines}}


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        content = read(Path(argument))
        execute(content)
        Path(argument).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
