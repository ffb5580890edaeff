"""Kits from strangers: nothing is written outside the folder, and each refusal is one clear sentence."""

import json
import shutil
import stat
import struct
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from jetseg.errors import ArtifactError, ConfigError, StorageError
from jetseg.kit import archive
from jetseg.kit.archive import unpack_kit, write_kit
from jetseg.kit.config import Tolerance
from jetseg.kit.contents import INDEX, KitIndex

HELD = ("network.onnx", "network.onnx.json", "frames/images/000.png", "frames/expected/000.png")


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    files = {}
    for name in HELD:
        files[name] = tmp_path / name.replace("/", "-")
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
    assert set(index.members) == set(HELD)
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
        ({"network.onnx": b"CONTENT OF network.onnx"}, "SHA-256 of network.onnx"),
        ({"network.onnx": b"something else"}, "holds network.onnx in another size than its index says"),
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
    write_kit(kit, index, {name: tmp_path / name.replace("/", "-") for name in HELD if name != "network.onnx.json"})
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
    with pytest.raises(ArtifactError, match="would unpack to 5 files"):
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


def edit_index(kit: Path, **changes: object) -> None:
    with zipfile.ZipFile(kit) as source:
        index = json.loads(source.read("kit.json"))
    rewrite(kit, {"kit.json": json.dumps(index | changes).encode()})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"frames": ["000", "001"]}, "lacks frames/expected/001.png, frames/images/001.png, which its index names"),
        ({"frames": ["000", "000"]}, "frames: Value error, a frame is named twice"),
        ({"frames": ["../../000"]}, r"frames\.0: String should match"),
        ({"labelled": True}, "lacks frames/labels/000.png, which its index names"),
    ],
)
def test_frames_are_what_the_index_says(kit, folder, changes, words):
    edit_index(kit, **changes)
    with pytest.raises(ArtifactError, match=words):
        unpack_kit(kit, folder)
    assert list(folder.iterdir()) == []


def test_a_stated_size_is_compared_with_the_real_one(kit, folder):
    with zipfile.ZipFile(kit) as source:
        members = json.loads(source.read("kit.json"))["members"]
    members["network.onnx"]["size_bytes"] += 1
    edit_index(kit, members=members)
    with pytest.raises(ArtifactError, match=r"holds network\.onnx in another size"):
        unpack_kit(kit, folder)
    assert list(folder.iterdir()) == []


def test_a_picture_of_no_frame(kit, folder, tmp_path):
    with zipfile.ZipFile(kit) as source:
        index = KitIndex.model_validate_json(source.read("kit.json"))
    files = {name: tmp_path / name.replace("/", "-") for name in HELD}
    write_kit(kit, index, files | {"frames/labels/000.png": tmp_path / "network.onnx"})
    with pytest.raises(ArtifactError, match=r"holds frames/labels/000\.png, which belongs to no frame"):
        unpack_kit(kit, folder)


def bomb(kit: Path, name: str, size: int) -> None:
    """Adds zeros, by the cheapest compression there is."""
    with zipfile.ZipFile(kit, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as target, target.open(name, "w") as stream:
        for _ in range(size >> 20):
            stream.write(bytes(1 << 20))


@pytest.mark.long
def test_a_file_that_would_grow_a_thousandfold(kit, folder):
    bomb(kit, "weights.bin", 300 << 20)
    assert kit.stat().st_size < 400_000
    with pytest.raises(ArtifactError, match=r"would grow from 0\.3\d MB to 315 MB .* and 20 times is the most"):
        unpack_kit(kit, folder)
    assert list(folder.iterdir()) == []


def test_many_small_files_that_would_grow_together(kit, folder):
    for number in range(8):
        bomb(kit, f"part{number}", 1 << 20)
    with pytest.raises(ArtifactError, match=r"a\.kit\.zip in all would grow from 0\.\d+ MB to 8 MB"):
        unpack_kit(kit, folder)


def test_an_index_that_holds_more_than_it_states(kit, folder):
    """`ZipFile.read` unpacks all of what is packed, and cuts it to the stated size after that."""
    import tracemalloc

    bomb(kit, "kit2json", 100 << 20)
    with zipfile.ZipFile(kit) as source:
        large, index = source.getinfo("kit2json"), source.getinfo("kit.json")
    content = bytearray(kit.read_bytes())
    directory = content.index(b"PK\1\2")
    place = content.index(b"kit.json", directory) - 46
    content[place + 20 : place + 24] = struct.pack("<L", large.compress_size)
    content[place + 42 : place + 46] = struct.pack("<L", large.header_offset)
    content = content.replace(
        b"kit2json", b"kit.json", 1
    )  # its own header; the directory's second entry keeps its name
    kit.write_bytes(content)
    assert index.file_size < 10_000
    tracemalloc.start()
    with pytest.raises(ArtifactError):
        unpack_kit(kit, folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 << 20


def test_zeros_are_packed_so_that_they_can_be_unpacked(kit, folder, tmp_path):
    with zipfile.ZipFile(kit) as source:
        index = KitIndex.model_validate_json(source.read("kit.json"))
    zeros = tmp_path / "zeros"
    zeros.write_bytes(bytes(3 << 20))
    write_kit(kit, index, {name: tmp_path / name.replace("/", "-") for name in HELD} | {"zeros.bin": zeros})
    assert unpack_kit(kit, folder).members["zeros.bin"].size_bytes == 3 << 20


@pytest.mark.parametrize(
    ("inside", "outside"), [("network.onnx/x", "network.onnx"), ("frames/images/000.png/x/y", "000.png")]
)
def test_a_file_that_is_a_folder_too(kit, folder, inside, outside):
    rewrite(kit, {}, [(inside, b"x")])
    with pytest.raises(ArtifactError, match=f"{outside} as a file"):
        unpack_kit(kit, folder)


def test_a_name_that_no_disk_takes(kit, folder):
    rewrite(kit, {}, [("x" * 300, b"x")])
    with pytest.raises(ArtifactError, match="which could leave its folder"):
        unpack_kit(kit, folder)


@pytest.mark.parametrize(("place", "packed"), [(10, b"\xff\xff"), (12, b"\xff\xff\xff\x7f")])
def test_a_directory_that_is_too_long_to_be_read(kit, folder, place, packed):
    content = bytearray(kit.read_bytes())
    end = len(content) - 22
    content[end + place : end + place + len(packed)] = packed
    kit.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"lists \d+ files in \d+ MB"):
        unpack_kit(kit, folder)


def test_a_directory_for_archives_of_more_than_4_gb(kit, folder):
    """Its own count would stand in place of the one that was looked at."""
    content = kit.read_bytes()
    kit.write_bytes(content[:-22] + b"PK\6\7" + bytes(16) + content[-22:])
    with pytest.raises(ArtifactError, match="does not end like one"):
        unpack_kit(kit, folder)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 60 + "]" * 60, "more than 50 levels deep"),
        (json.dumps({"members": dict.fromkeys(map(str, range(100_000)))}), "more than 100,000 values"),
        ("&a [*a]", "alias"),
    ],
)
def test_an_index_beyond_the_bounds_of_all_texts(kit, folder, text, reason):
    rewrite(kit, {INDEX: text.encode()})
    with pytest.raises(ArtifactError, match=reason):
        unpack_kit(kit, folder)
