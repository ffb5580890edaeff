import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jetseg import storage
from jetseg.errors import ConfigError, StorageError

WRITE_AND_WAIT = """
import sys
from pathlib import Path
from jetseg.storage import temporary_path, writing
with writing(Path(sys.argv[1])), temporary_path(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("ready", flush=True)
    sys.stdin.read()
"""


def start_writer(path: Path) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE_AND_WAIT, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_second_writer_is_refused_while_the_first_lives_and_finds_nothing_of_it_once_it_was_killed(tmp_path):
    path = tmp_path / "engine.onnx"
    with start_writer(path) as first:
        refusal = rf"Process {first.pid} is writing .*engine\.onnx at this moment"
        with pytest.raises(ConfigError, match=refusal), storage.writing(path):
            pass
        with storage.temporary_path(path) as other:
            assert len(list(tmp_path.glob("*.part.onnx"))) == 2, "what a living process writes stays"
            assert other.exists()
        first.kill()
    assert len(list(tmp_path.iterdir())) == 2
    with storage.writing(path):
        storage.write_text(path, "whole")
    assert [file.name for file in tmp_path.iterdir()] == ["engine.onnx"]


def test_the_lock_is_not_inherited_by_a_child_that_outlives_its_parent(tmp_path):
    """As the workers that load frames for a training do."""
    path = tmp_path / "state.safetensors"
    code = (
        "import os, sys, time; from pathlib import Path; from jetseg.storage import writing\n"
        "with writing(Path(sys.argv[1])):\n"
        "    if (child := os.fork()) == 0: time.sleep(60)\n"
        "    print(child, flush=True); os.kill(os.getpid(), 9)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        parent.wait()
        with storage.writing(path):
            pass
        os.kill(child, 9)


def test_one_thread_may_take_it_twice_and_another_may_not(tmp_path):
    path, refused = tmp_path / "a", []

    def other() -> None:
        try:
            with storage.writing(path):
                pass
        except ConfigError as error:
            refused.append(error.found)

    with storage.writing(path):
        with storage.writing(path):
            pass
        assert (tmp_path / ".a.lock").exists()
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert refused == [f"Another thread of this process is writing {path} at this moment."]
    assert not list(tmp_path.iterdir())


def test_a_lock_file_that_a_link_leads_away_from_is_refused(tmp_path):
    (tmp_path / "other").write_text("kept")
    (tmp_path / ".a.lock").symlink_to(tmp_path / "other")
    with pytest.raises(StorageError), storage.writing(tmp_path / "a"):
        pass
    assert (tmp_path / "other").read_text() == "kept"
