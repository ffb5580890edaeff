import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jetseg import locking, storage, temporary


def test_scratch_folders_of_killed_processes_go(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = (
        "import os, sys, tempfile; tempfile.tempdir = sys.argv[1]; from jetseg.storage import scratch_folder\n"
        "with scratch_folder('jetseg-x-') as folder: (folder / 'a').write_text(''); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    (tmp_path / "jetseg-x-mine").mkdir()
    assert len(list(tmp_path.iterdir())) == 2
    with storage.scratch_folder("jetseg-x-") as one, storage.scratch_folder("jetseg-x-") as two:
        assert {path.name for path in tmp_path.iterdir()} == {"jetseg-x-mine", one.name, two.name}
    assert [path.name for path in tmp_path.iterdir()] == ["jetseg-x-mine"]


@pytest.mark.parametrize("moment", ["before it is marked", "while it is marked"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_another_process_takes_for_a_leftover_in_the_moment_it_is_made_is_made_again(
    tmp_path, monkeypatch, kind, moment
):
    taken = []

    def hold(descriptor: int) -> bool | None:
        if not taken:
            (made,) = tmp_path.iterdir()
            taken.append(made.name)
            made.rmdir() if made.is_dir() else made.unlink()
            if moment == "while it is marked":
                return False  # the other one has it
        return locking.hold(descriptor)

    monkeypatch.setattr(temporary, "hold", hold)
    make = storage.scratch_folder("jetseg-x-", tmp_path) if kind == "folder" else storage.temporary_path(tmp_path / "a")
    with make as path:
        assert [made.name for made in tmp_path.iterdir()] == [path.name]
        assert path.name not in taken
    assert not list(tmp_path.iterdir())


def test_what_is_removed_is_held_until_it_is_gone(tmp_path, monkeypatch):
    left = tmp_path / "jetseg-x-abcdefgh"
    left.mkdir()
    seen = []

    def rmtree(path: Path, **options: object) -> None:
        with locking.taken_if_abandoned(path) as abandoned:
            seen.append((path == left, abandoned))
        path.rmdir()

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    with storage.scratch_folder("jetseg-x-", tmp_path):
        pass
    assert seen == [(True, False), (False, False)]
