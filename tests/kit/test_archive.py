"""Kits from strangers: nothing is written outside the folder, and each refusal is one clear sentence."""

import json
import shutil
import stat
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from jetseg.errors import ArtifactError, ConfigError, StorageError
from jetseg.kit import archive
from jetseg.kit.archive import unpack_kit, write_kit
from jetseg.kit.config import Tolerance
from jetseg.kit.contents import KitIndex


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    files = {}
    for name in ("network.onnx", "network.onnx.json", "frames/images/000.png"):
        files[name] = tmp_path / Path(name).name
        files[name].write_bytes(b"content of " + name.encode())
    index = KitIndex(
        jetseg="0", model="network.onnx", frames=("000",), labelled=False, tolerance=Tolerance(), members={}
    )
    write_kit(tmp_path / "a.kit.zip", index, files)
    return tmp_path / "a.kit.zip"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "place" / "inside"
    place.mkdir(parents=True)
    return place


def rewrite(kit: Path, change: dict[str, bytes | None], extra: list[tuple[zipfile.ZipInfo | str, bytes]] = ()) -> None:
    """Writes the kit anew with other content by name (None leaves a file out), and with more files."""
    with zipfile.ZipFile(kit) as source:
        files = {name: source.read(name) for name in source.namelist()} | change
    with zipfile.ZipFile(kit, "w") as target:
        for name, content in [*files.items(), *extra]:
            if content is not None:
                target.writestr(name, content)


def test_a_kit_unpacks_to_what_was_packed(kit, folder):
    index = unpack_kit(kit, folder)
    assert set(index.members) == {"network.onnx", "network.onnx.json", "frames/images/000.png"}
    assert (folder / "frames/images/000.png").read_bytes() == b"content of frames/images/000.png"
    assert index.members["network.onnx"].size_bytes == len(b"content of network.onnx")


@pytest.mark.parametrize(
    "name",
    ["../outside", "frames/../../outside", "/tmp/outside", "C:/outside", "a\\..\\outside", ".hidden", "a//b", "a/"],
)
def test_a_path_that_could_leave_the_folder(kit, folder, name):
    rewrite(kit, {}, [(name, b"x")])
    with pytest.raises(ArtifactError, match="which could leave its folder"):
        unpack_kit(kit, folder)
    assert list(folder.parent.rglob("*")) == [folder]


def test_a_link(kit, folder):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    rewrite(kit, {}, [(link, b"/etc/passwd")])
    with pytest.raises(ArtifactError, match="which is a link or a device"):
        unpack_kit(kit, folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network.onnx": b"something else"}, "SHA-256 of network.onnx"),
        ({"network.onnx": None}, "lacks network.onnx"),
        ({"other": b"x"}, "holds other, not in its index"),
        ({"kit.json": None}, "it has no kit.json"),
        ({"kit.json": b"{}"}, "jetseg: Field required"),
        ({"kit.json": b"not json"}, "cannot be read"),
    ],
)
def test_damaged_kits(kit, folder, change, words):
    rewrite(kit, change)
    with pytest.raises(ArtifactError, match=words):
        unpack_kit(kit, folder)


def test_a_model_that_the_index_does_not_hold(kit, folder):
    with zipfile.ZipFile(kit) as source:
        index = json.loads(source.read("kit.json"))
    rewrite(kit, {"kit.json": json.dumps(index | {"model": "../../etc/passwd"}).encode()})
    with pytest.raises(ArtifactError, match="which its index names"):
        unpack_kit(kit, folder)


def test_a_model_without_its_manifest(kit, folder, tmp_path):
    with zipfile.ZipFile(kit) as source:
        index = KitIndex.model_validate_json(source.read("kit.json"))
    write_kit(kit, index, {"network.onnx": tmp_path / "network.onnx"})
    with pytest.raises(ArtifactError, match=r"lacks network\.onnx\.json, which its index names"):
        unpack_kit(kit, folder)


def test_every_truncation_is_refused(kit, folder):
    content = kit.read_bytes()
    for length in range(0, len(content) - 1, 37):
        kit.write_bytes(content[:length])
        with pytest.raises(ArtifactError):
            unpack_kit(kit, folder)


def test_a_name_twice(kit, folder):
    with pytest.warns(UserWarning, match="Duplicate name"):
        rewrite(kit, {}, [("network.onnx", b"again")])
    with pytest.raises(ArtifactError, match=r"holds network\.onnx twice"):
        unpack_kit(kit, folder)


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_compression_that_kits_do_not_use(kit, folder, compression):
    with zipfile.ZipFile(kit, "w", compression) as target:
        target.writestr("kit.json", b"content of an index " * 100)
    content = bytearray(kit.read_bytes())
    content[50:70] = bytes(byte ^ 0x5A for byte in content[50:70])
    kit.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"holds kit\.json compressed in a way that no kit uses"):
        unpack_kit(kit, folder)


def test_a_name_that_is_no_utf8(kit, folder):
    rewrite(kit, {}, [("naïve", b"x")])
    kit.write_bytes(kit.read_bytes().replace("ï".encode(), b"\xc3\x28"))
    with pytest.raises(ArtifactError, match="is not a whole kit"):
        unpack_kit(kit, folder)


def test_a_kit_that_is_too_large(kit, folder, monkeypatch):
    monkeypatch.setattr(archive, "MAX_KIT_BYTES", 100)
    with pytest.raises(ArtifactError, match="would unpack to 4 files"):
        unpack_kit(kit, folder)


def test_a_disk_without_room(kit, folder, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(10_000_000))
    with pytest.raises(StorageError, match=r"needs 67 MB in .*, where 10 MB are free\. Free some space"):
        unpack_kit(kit, folder)
    assert list(folder.iterdir()) == []


def test_no_kit_at_all(tmp_path, folder):
    with pytest.raises(ArtifactError, match="does not exist"):
        unpack_kit(tmp_path / "gone.zip", folder)


def test_a_file_with_an_odd_name_is_not_packed(tmp_path, kit, folder):
    index = unpack_kit(kit, folder)
    with pytest.raises(ConfigError, match="cannot hold a file named 'my ranges.json'"):
        write_kit(tmp_path / "b.zip", index, {"my ranges.json": kit})
