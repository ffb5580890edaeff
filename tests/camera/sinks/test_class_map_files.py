import errno
import os
import shutil

import cv2
import numpy as np
import pytest
from results import result

from jetseg.camera.sinks.class_map_files import ClassMapFiles
from jetseg.errors import ConfigError, StorageError
from jetseg.monitor.events import EventLog


def test_files_hold_the_ids_exactly(tmp_path):
    output = ClassMapFiles(tmp_path / "maps")
    for index in range(3):
        output.write(result(index))
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == [f"{index:08d}.png" for index in range(3)]
    for index in range(3):
        read = cv2.imread(str(tmp_path / "maps" / f"{index:08d}.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(read, result(index).class_map_hw_u8)


def test_deleted_folder_comes_back_with_an_event(tmp_path):
    events = EventLog()
    output = ClassMapFiles(tmp_path / "a" / "maps", events)
    for index in range(4):
        if index == 2:
            shutil.rmtree(tmp_path / "a")
        output.write(result(index))
    assert [event.kind for event in events.recent()] == ["class-map-files-deleted"]
    assert sorted(path.name for path in (tmp_path / "a" / "maps").iterdir()) == ["00000002.png", "00000003.png"]
    with pytest.raises(ConfigError, match="Another process writes class maps"):
        ClassMapFiles(tmp_path / "a" / "maps")


def test_two_runs_do_not_write_to_one_folder_and_leftovers_of_a_killed_one_go(tmp_path):
    first = ClassMapFiles(tmp_path)
    (tmp_path / "00000007.part").write_bytes(b"half")
    (tmp_path / "notes.part").write_bytes(b"of the user")
    with pytest.raises(ConfigError, match="Another process writes class maps"):
        ClassMapFiles(tmp_path)
    assert (tmp_path / "00000007.part").exists()
    first.close()
    ClassMapFiles(tmp_path).close()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.part"]


def test_output_that_failed_writes_again_after_its_rest(tmp_path, monkeypatch):
    output = ClassMapFiles(tmp_path)
    output.reset()
    output.write(result(0))
    with pytest.raises(ConfigError, match="Another process"):
        ClassMapFiles(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_full_and_read_only_disks_are_told_as_what_they_are(tmp_path, monkeypatch, number):
    output = ClassMapFiles(tmp_path)

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("pathlib.Path.write_bytes", refuse)
    with pytest.raises(StorageError, match=rf"00000000\.png could not be written: {os.strerror(number)}\."):
        output.write(result(0))
    assert not list(tmp_path.iterdir())


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="maps could not be written"):
        ClassMapFiles(tmp_path / "file" / "maps")
