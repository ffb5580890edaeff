"""Says what installs an extra of the jetseg that is running, from where it came.

The name `jetseg` on a public package index is not this project's, so no hint may send a user there.
"""

from __future__ import annotations

import json
import re
import shlex
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit


def install_hint(extra: str) -> str:
    """Returns the sentence that says how to install an extra of this very jetseg.

    A clone and a wheel that are still where they were are installed from again. For one that came from elsewhere, or
    whose file is gone, the libraries of the extra are named.
    """
    clone = Path(__file__).resolve().parents[1]
    if (clone / "pyproject.toml").is_file():
        return _pip("--editable", f"{clone}[{extra}]")
    try:
        installed = distribution("jetseg")
    except PackageNotFoundError:
        return f"Install the libraries that pyproject.toml lists under {extra}."
    origin = _origin(installed)
    if origin is not None:
        return _pip(f"{origin}[{extra}]")
    return _pip(*_libraries(installed, extra))


def _pip(*words: str) -> str:
    return f"Install it with: pip install {shlex.join(words)}."


def _origin(installed: Distribution) -> Path | None:
    """Returns the wheel or the folder that pip recorded as the one it installed from, if it is still there."""
    recorded = installed.read_text("direct_url.json")
    if recorded is None:  # from an index, or unpacked without pip
        return None
    address = urlsplit(str(json.loads(recorded)["url"]))
    path = Path(unquote(address.path))
    return path if address.scheme == "file" and path.exists() else None


def _libraries(installed: Distribution, extra: str) -> list[str]:
    """Returns the requirements of an extra, as in "av>=14.0"."""
    marker = re.compile(rf"""\bextra\s*==\s*['"]{re.escape(extra)}['"]""")
    parts = [line.partition(";") for line in installed.requires or []]
    return [requirement.strip() for requirement, _, condition in parts if marker.search(condition)]
