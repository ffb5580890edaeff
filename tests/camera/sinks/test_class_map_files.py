import cv2
import numpy as np
import pytest
from results import result

from jetseg.camera.sinks.class_map_files import ClassMapFiles
from jetseg.errors import StorageError


def test_files_hold_the_ids_exactly(tmp_path):
    output = ClassMapFiles(tmp_path / "maps")
    for index in range(3):
        output.write(result(index))
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == [f"{index:08d}.png" for index in range(3)]
    for index in range(3):
        read = cv2.imread(str(tmp_path / "maps" / f"{index:08d}.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(read, result(index).class_map_hw_u8)


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="maps could not be written"):
        ClassMapFiles(tmp_path / "file" / "maps")
