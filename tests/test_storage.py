import errno
import hashlib
import os
from pathlib import Path

import pytest

from jetseg import storage
from jetseg.errors import StorageError


def test_a_failed_write_leaves_the_earlier_file_whole_and_nothing_else(tmp_path: Path):
    path = tmp_path / "result.json"
    storage.write_json(path, {"miou": 57.5})
    before = path.read_bytes()

    def write_half() -> None:
        with storage.atomic_path(path) as temporary:
            temporary.write_text("half a fi")
            raise RuntimeError("cut short")

    with pytest.raises(RuntimeError, match="cut short"):
        write_half()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_file_lies_in_the_same_folder_and_keeps_the_suffix(tmp_path: Path):
    path = tmp_path / "new" / "frame.png"
    with storage.atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".png"
        assert not path.exists()
        temporary.write_bytes(b"x")
    assert path.read_bytes() == b"x"


def test_written_files_may_be_read_by_others(tmp_path: Path):
    storage.write_text(tmp_path / "a", "é")
    assert (tmp_path / "a").read_bytes() == "é".encode()
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def opened(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()


def test_folders_are_synced_after_what_changed_in_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls, rename = [], Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append(opened(descriptor)))

    def replace(source: Path, target: Path) -> Path:
        calls.append((source, target))
        return rename(source, target)

    monkeypatch.setattr(Path, "replace", replace)
    path = tmp_path / "new" / "deep" / "a"
    storage.write_bytes(path, b"x")
    made, above, temporary, renamed, folder = calls
    assert (made, above) == (tmp_path / "new", tmp_path)
    assert renamed == (temporary, path)
    assert folder == path.parent


def test_a_file_system_that_cannot_sync_folders_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(_: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    storage.sync_folder(tmp_path)
    with pytest.raises(StorageError):
        storage.write_bytes(tmp_path / "a", b"x")


def test_a_tree_is_synced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "tree" / "inner").mkdir(parents=True)
    (tmp_path / "tree" / "inner" / "a").write_text("")
    (tmp_path / "tree" / "link").symlink_to("/nowhere")
    synced = set()
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.add(opened(descriptor)))
    storage.sync_tree(tmp_path / "tree")
    assert synced == {tmp_path, tmp_path / "tree", tmp_path / "tree" / "inner", tmp_path / "tree" / "inner" / "a"}


def test_a_full_disk_is_told_and_cleaned_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"a\.bin could not be written: No space left on device\."):
        storage.write_bytes(tmp_path / "a.bin", b"x")
    assert not list(tmp_path.iterdir())


def test_a_file_in_place_of_a_folder_is_told(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not be written") as caught:
        storage.write_text(tmp_path / "file" / "a.txt", "x")
    assert caught.value.exit_code == 3


def test_sha256_reads_more_than_one_block(tmp_path: Path):
    content = bytes(range(256)) * 8200
    (tmp_path / "a").write_bytes(content)
    assert storage.sha256_file(tmp_path / "a") == hashlib.sha256(content).hexdigest()
