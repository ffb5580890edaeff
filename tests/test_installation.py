"""Hints install from where jetseg came, and no text of the project sends anyone to a name that is not ours."""

import json
import re
import subprocess
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path

import pytest

from jetseg import installation
from jetseg.installation import install_hint

ROOT = Path(__file__).parents[1]
LIBRARIES = "Install it with: pip install 'av>=14.0' 'onnxruntime[x]>=1.20'."

INSTALLERS = re.compile(r"\b(?:pip3?|pipx|uv|uvx)\s+(?:\S+\s+)*?(?:install|download|wheel|run|add|compile)\b(.*)")
OURS = re.compile(r"""(?<![\w./}\]-])jetseg(?:\[[^\]]*\])?(?:[=<>~!]=?[^\s'"]*)?['"`]?(?![\w/:@\[-]|\.\w|\s*@\s)""")


class Installed(Distribution):
    """What pip leaves behind of an installation."""

    def __init__(self, direct_url: str | None) -> None:
        self.direct_url = direct_url

    def read_text(self, filename: str) -> str | None:
        metadata = (
            "Name: jetseg\nRequires-Dist: numpy>=1.26\n"
            'Requires-Dist: av>=14.0; extra == "cpu"\n'
            "Requires-Dist: onnxruntime[x]>=1.20; sys_platform == 'linux' and extra == 'cpu'\n"
            'Requires-Dist: torch>=2.8; extra == "cpu-train"\n'
        )
        return {"direct_url.json": self.direct_url, "METADATA": metadata}.get(filename)

    def locate_file(self, path: object) -> Path:
        raise AssertionError


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Returns a function that lets jetseg be one that was installed from an address, or from an index (None)."""
    monkeypatch.setattr(installation, "__file__", str(tmp_path / "site-packages" / "jetseg" / "installation.py"))

    def come_from(url: str | None) -> None:
        record = None if url is None else json.dumps({"url": url, "dir_info": {}})
        monkeypatch.setattr(installation, "distribution", lambda name: Installed(record))

    return come_from


def test_a_clone_is_installed_from_again():
    assert install_hint("dashboard") == f"Install it with: pip install --editable '{ROOT}[dashboard]'."


def test_a_wheel_is_installed_from_again_while_it_is_there(tmp_path, installed):
    wheel = tmp_path / "from the air" / "jetseg-0.2.0-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.touch()
    installed(wheel.as_uri())
    assert install_hint("cpu") == f"Install it with: pip install '{wheel}[cpu]'."
    wheel.unlink()
    assert install_hint("cpu") == LIBRARIES


@pytest.mark.parametrize("url", [None, "https://example.org/jetseg-0.2.0-py3-none-any.whl"])
def test_from_an_index_or_a_page_the_libraries_are_named(installed, url):
    installed(url)
    assert install_hint("cpu") == LIBRARIES


def test_without_a_record_of_an_installation_the_list_is_named(installed, monkeypatch):
    def none(name: str) -> Distribution:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(installation, "distribution", none)
    assert install_hint("cpu") == "Install the libraries that pyproject.toml lists under cpu."


def sent_to_an_index(text: str) -> list[str]:
    """Returns what a text lets a package installer fetch by our bare name."""
    joined = text.replace("\\\n", " ")
    return [found[0] for found in INSTALLERS.finditer(joined) if OURS.search(found[1])]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("pip install 'jetseg[dashboard]'", True),
        ("RUN /opt/jetseg/bin/pip install --no-cache-dir jetseg", True),
        ("python -m pip install --upgrade jetseg==0.2.0 torch", True),
        ("Install it with `pip install jetseg`.", True),
        ("uv pip install jetseg[cpu]", True),
        ("pip install \\\n    --quiet jetseg", True),
        ("pipx install jetseg", True),
        ("uvx --from x run jetseg", True),
        ("pip install '.[cpu]'    # in a clone", False),
        ("pip install /opt/jetseg[cpu] dist/jetseg-0.2.0-py3-none-any.whl", False),
        ("pip install 'jetseg[cpu] @ file:///opt/jetseg'", False),
        ("pip install jetseg-example jetson-stats", False),
    ],
)
def test_what_the_next_test_finds(line, wrong):
    assert bool(sent_to_an_index(line)) is wrong


def test_no_text_sends_to_an_index_for_our_name():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a clone")
    here = Path(__file__).relative_to(ROOT)
    texts = [ROOT / name for name in listed.stdout.splitlines() if name != str(here)]
    texts = [path for path in texts if path.is_file() and path.suffix not in {".onnx", ".jpg", ".png", ".npz"}]
    assert len(texts) > 100
    wrong = {str(path): sent_to_an_index(path.read_text(errors="replace")) for path in texts}
    assert {path: lines for path, lines in wrong.items() if lines} == {}
