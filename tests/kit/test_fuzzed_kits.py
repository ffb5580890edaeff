"""A kit with anything in it is opened or refused in a sentence, writes nothing elsewhere, and does not grow."""

import json
import random
import shutil
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_kit import read_kit, rewrite_kit

from jetseg.errors import JetsegError
from jetseg.kit.archive import MAX_RATIO, SMALL_BYTES
from jetseg.kit.opening import open_kit

ANYTHING: tuple[Any, ...] = (
    *(None, True, -1, 0, 10**30, 1e308, "", "x" * 1000, "../../etc/passwd", "/etc/passwd", "\ud800", "\0"),
    *([], {}, [[]], [None], "network.onnx", "frames/images/000.png", "kit.json", "network.onnx.json"),
)
TEXTS = (
    *(b"", b"{}", b"[]", b"\xff\xfe", b"{" * 3000, b"a: &a [*a, *a]", b"root: /", b"classes: !!int ''", b"\0" * 50),
    *(b"\x89PNG\r\n\x1a\n", b"PK\x05\x06" + bytes(18), b"x" * 5000),
)
ODD_NAMES = (
    "../x",
    "/x",
    "a//b",
    "x\\y",
    ".x",
    "x" * 250,
    "a/" * 90 + "b",
    "network.onnx/x",
    "frames",
    "ä",
)


def flip_bytes(draw: random.Random, kit: Path, out: Path) -> None:
    content = bytearray(kit.read_bytes())
    for _ in range(draw.choice((1, 1, 4, 30))):
        content[draw.randrange(len(content))] = draw.randrange(256)
    out.write_bytes(content)


def change_headers(draw: random.Random, kit: Path, out: Path) -> None:
    """Changes fields of the directory, of the headers before each file, or of the end."""
    content = bytearray(kit.read_bytes())
    signature, length = draw.choice(((b"PK\1\2", 46), (b"PK\3\4", 30), (b"PK\5\6", 22)))
    places = [place for place in range(len(content) - length) if content[place : place + 4] == signature]
    for _ in range(draw.choice((1, 2, 5))):
        place = draw.choice(places or [len(content) - 22]) + draw.randrange(4, length - 3)
        value = draw.choice((0, 1, 8, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFF, len(content), draw.getrandbits(32)))
        struct.pack_into(
            *(("<L", content, place, value) if draw.random() < 0.5 else ("<H", content, place, value & 0xFFFF))
        )
    out.write_bytes(content)


def cut(draw: random.Random, kit: Path, out: Path) -> None:
    content = kit.read_bytes()
    begin, end = sorted(draw.sample(range(len(content)), 2))
    out.write_bytes(
        draw.choice((content[:end], content[begin:], content[:begin] + content[end:], content + content[begin:end]))
    )


def change_index(draw: random.Random, kit: Path, out: Path) -> None:
    def edit(index: dict[str, Any]) -> None:
        holder: Any = index
        while True:
            key = draw.choice(list(holder)) if isinstance(holder, dict) else draw.randrange(len(holder))
            if isinstance(holder[key], dict | list) and holder[key] and draw.random() < 0.7:
                holder = holder[key]
                continue
            if isinstance(holder, dict) and draw.random() < 0.2:
                holder[draw.choice(("x", *ODD_NAMES))] = holder.pop(key)
            else:
                holder[key] = draw.choice(ANYTHING)
            return

    rewrite_kit(kit, out, {}, edit)


def swap_files(draw: random.Random, kit: Path, out: Path) -> None:
    """Puts the content of one file, a text, or another kit into the place of another; hashes are made right."""
    files = read_kit(kit)
    names = sorted(set(files) - {"kit.json"})
    changed = {
        name: draw.choice((files[draw.choice(names)], draw.choice(TEXTS), kit.read_bytes()))
        for name in draw.sample(names, 2)
    }
    rewrite_kit(kit, out, changed)


def edit_manifest(draw: random.Random, kit: Path, out: Path) -> None:
    manifest = json.loads(read_kit(kit)["network.onnx.json"])
    del manifest["content_sha256"]
    manifest[draw.choice(list(manifest))] = draw.choice(ANYTHING)
    rewrite_kit(kit, out, {"network.onnx.json": json.dumps(manifest).encode()})


def add_files(draw: random.Random, kit: Path, out: Path) -> None:
    """Adds files with odd names, names twice, links, and much of nothing, in the index or not."""
    odd = dict.fromkeys(draw.sample(ODD_NAMES, 2), b"x") if draw.random() < 0.5 else {}
    rewrite_kit(kit, out, odd if draw.random() < 0.5 else {})
    with warnings.catch_warnings(), zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # a name twice
        for name in draw.sample((*ODD_NAMES, "kit.json", "network.onnx", "zeros"), 2):
            entry = zipfile.ZipInfo(name)
            entry.compress_type = draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
            entry.external_attr = draw.choice((0, 0o100644, 0o120777, 0o040755, 0o020666)) << 16
            archive.writestr(entry, bytes(draw.choice((0, 1, 3 << 20))))


CHANGES: tuple[Callable[[random.Random, Path, Path], None], ...] = (
    *(flip_bytes, change_headers, cut, change_index, swap_files, edit_manifest, add_files),
)


def unpacked_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.long
@pytest.mark.fuzz
def test_kits_with_anything_in_them(small_kit, float_kit, tmp_path, trials):
    place, kit = tmp_path / "place" / "inside", tmp_path / "fuzzed.kit.zip"
    place.mkdir(parents=True)
    beside = {kit.name, *(path.name for path in tmp_path.iterdir())}
    count = opened = 0
    for draw in trials(210):
        change = CHANGES[count % len(CHANGES)]
        count += 1
        change(draw, draw.choice((small_kit, float_kit)), kit)
        try:
            with open_kit(kit, within=place) as found:
                assert unpacked_bytes(place) <= max(SMALL_BYTES, MAX_RATIO * kit.stat().st_size)
                for path in (*found.folder.rglob("*"), found.network.path):
                    assert path.resolve().is_relative_to(place)
                frames, expected = found.frames(), found.expected()
                assert len(frames) == len(expected)
                for index in range(len(frames)):
                    assert frames[index].image_hwc_u8.size
            opened += 1
        except JetsegError as error:
            assert error.exit_code == 2, (change.__name__, error)  # noqa: PT017 - most are refused
        assert list(place.iterdir()) == [], change.__name__
        assert {path.name for path in tmp_path.iterdir()} == beside, change.__name__
        assert list(place.parent.iterdir()) == [place], change.__name__
    assert 0.02 * count < opened < 0.6 * count
    shutil.rmtree(place.parent)
