import os

import pytest
from small_network import edit_manifest, small_manifest, small_network, write_small_network

from jetseg import artifact_file, storage
from jetseg.artifact_file import copy_artifact, move_artifact, new_artifact, rewrite_manifest, save_onnx
from jetseg.errors import ArtifactError, ManifestError, StorageError
from jetseg.manifest_file import has_manifest, manifest_path, pending_path, read_manifest
from jetseg.network import open_network, save_manifest
from jetseg.onnx.weight_files import read_at_most
from jetseg.storage import sha256_file
from jetseg.workflows.opening import manifest_for


class Cut(BaseException):
    """The process ends here."""


@pytest.fixture
def cut_after_commit(monkeypatch):
    """Ends a writer between the artifact and its manifest."""

    def cut(source, target):
        storage.put(source, target)
        raise Cut

    monkeypatch.setattr(artifact_file, "put", cut)


def replace(path, seed=1):
    return save_onnx(path, small_network(seed), small_manifest().changed(backend="new"))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_new_pair_takes_the_place_of_the_old_one(tmp_path):
    path = write_small_network(tmp_path)
    written = replace(path)
    assert open_network(path).manifest == written
    assert written.sha256 == sha256_file(path)
    assert names(tmp_path) == ["small.onnx", "small.onnx.json"]


def test_a_reader_after_a_cut_takes_the_manifest_that_is_right_and_puts_it_in_its_place(tmp_path, cut_after_commit):
    path = write_small_network(tmp_path)
    with pytest.raises(Cut):
        replace(path)
    assert open_network(path).manifest.backend == "new"
    assert names(tmp_path) == ["small.onnx", "small.onnx.json"]


def test_the_old_manifest_need_not_know_its_file(tmp_path, cut_after_commit):
    """A manifest that a user wrote has no hash, and fits everything."""
    path = write_small_network(tmp_path)
    edit_manifest(path, lambda content: content.update(sha256=None))
    with pytest.raises(Cut):
        replace(path)
    assert open_network(path).manifest.backend == "new"


def test_the_first_pair_may_lack_its_manifest(tmp_path, cut_after_commit):
    path = tmp_path / "small.onnx"
    with pytest.raises(Cut):
        replace(path)
    assert not manifest_path(path).exists()
    assert has_manifest(path)
    assert manifest_for(path, "other.yaml") is None
    assert open_network(path).manifest.backend == "new"


def test_a_reader_that_may_not_write_reads_all_the_same(tmp_path, cut_after_commit, monkeypatch):
    path = write_small_network(tmp_path)
    with pytest.raises(Cut):
        replace(path)

    def refuse(*_):
        raise StorageError("read-only")

    monkeypatch.setattr("jetseg.network.writing", refuse)
    assert open_network(path).manifest.backend == "new"
    assert pending_path(path).exists()


def test_a_manifest_that_came_too_early_is_not_taken_and_goes(tmp_path, monkeypatch):
    path = write_small_network(tmp_path)
    before = open_network(path)

    def cut(*_):
        raise Cut

    monkeypatch.setattr(artifact_file, "put", cut)
    with pytest.raises(Cut):
        replace(path)
    monkeypatch.undo()
    assert pending_path(path).exists()
    assert open_network(path) == before
    replace(path, seed=2)
    assert names(tmp_path) == ["small.onnx", "small.onnx.json"]


def test_the_next_writer_ends_what_the_killed_one_began_before_it_begins(tmp_path, monkeypatch):
    """Else its own manifest would take the place of the only one that is right for what is there."""
    path = write_small_network(tmp_path)

    def cut(source, target):
        storage.put(source, target)
        raise Cut

    monkeypatch.setattr(artifact_file, "put", cut)
    with pytest.raises(Cut):
        replace(path, seed=1)

    def cut_before(*_):
        raise Cut

    monkeypatch.setattr(artifact_file, "put", cut_before)
    with pytest.raises(Cut):
        replace(path, seed=2)
    assert open_network(path).manifest.backend == "new"


def test_a_file_that_neither_manifest_describes_is_refused(tmp_path, cut_after_commit):
    path = write_small_network(tmp_path)
    with pytest.raises(Cut):
        replace(path)
    path.write_bytes(small_network(5).SerializeToString())
    with pytest.raises(ArtifactError, match="SHA-256"):
        open_network(path)
    manifest_path(path).unlink()
    with pytest.raises(ManifestError, match="has no manifest"):
        open_network(path)


def test_a_reader_during_a_change_looks_again(tmp_path, monkeypatch):
    path = write_small_network(tmp_path)
    reads = []

    def read_and_replace(place, artifact):
        found = read_manifest(place, artifact)
        if not reads:
            reads.append(place)
            replace(path)
        return found

    monkeypatch.setattr("jetseg.network.read_manifest", read_and_replace)
    assert open_network(path).manifest.backend == "new"


def test_a_move_that_is_cut_off_is_a_move(tmp_path, cut_after_commit):
    source, target = write_small_network(tmp_path), tmp_path / "target.onnx"
    network = open_network(source)
    with pytest.raises(Cut):
        move_artifact(source, target)
    assert open_network(target).manifest == network.manifest


def test_a_copy_has_the_same_manifest(tmp_path):
    source, target = write_small_network(tmp_path), tmp_path / "new" / "target.onnx"
    copy_artifact(source, target)
    assert open_network(target).manifest == open_network(source).manifest
    assert target.read_bytes() == source.read_bytes()


def test_a_full_disk_leaves_the_old_pair(tmp_path, monkeypatch):
    path = write_small_network(tmp_path)
    before = open_network(path)

    def full(_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"small\.onnx.* could not be written: No space left on device\."):
        replace(path)
    assert open_network(path) == before
    assert names(tmp_path) == ["small.onnx", "small.onnx.json"]


def test_an_artifact_that_nobody_described_is_not_published(tmp_path):
    with pytest.raises(ValueError, match="not described"), new_artifact(tmp_path / "a.onnx") as draft:
        draft.path.write_bytes(b"x")
    assert names(tmp_path) == []


def test_a_manifest_is_not_rewritten_for_a_file_that_was_replaced(tmp_path):
    path = write_small_network(tmp_path)
    network = open_network(path)
    rewrite_manifest(network, network.manifest.changed(backend="told"))
    assert open_network(path).manifest.backend == "told"
    replace(path)
    with pytest.raises(ArtifactError, match="replaced meanwhile"):
        rewrite_manifest(network, network.manifest)
    assert open_network(path).manifest.backend == "new"


def test_a_file_that_was_replaced_since_it_was_opened_is_not_read(tmp_path):
    path = tmp_path / "net.engine"
    path.write_bytes(b"one")
    save_manifest(path, small_manifest().changed(kind="engine"))
    network = open_network(path)
    assert network.read() == b"one"
    path.write_bytes(b"two")
    with pytest.raises(ArtifactError, match="is not the file that was checked"):
        network.read()


def test_a_network_is_read_once_when_it_is_opened(tmp_path, monkeypatch):
    path, reads = write_small_network(tmp_path), []

    def read(file, *arguments, **options):
        reads.append(file)
        return read_at_most(file, *arguments, **options)

    monkeypatch.setattr("jetseg.onnx.file.read_at_most", read)
    open_network(path)
    assert reads == [path]
