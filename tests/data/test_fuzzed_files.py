"""Damaged labels, frames and videos: each gives an error that says so, or what the whole file would give."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from image_files import chunk, optimized, png, turned_jpeg
from video_files import write_timed

from jetseg.camera.sources.opening import open_source
from jetseg.data.dataset import open_split
from jetseg.errors import InputError

IDS = np.random.default_rng(0).integers(0, 3, (12, 20)).astype(np.uint8)
SETTINGS = "classes: [a, b, c]\nignore_index: 255\n"


def encoded(suffix: str, pixels: np.ndarray) -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


LABELS = {
    "gray.png": encoded(".png", IDS),
    "palette.png": optimized(IDS + 3),
    "colors.png": png(IDS, 2, bytes(range(10, 19)), extra=chunk(b"tRNS", b"\0\xff")),
    "bits.png": png(IDS, 4),
    "bit.png": png(IDS % 2, 1),
    "deep.png": encoded(".png", IDS.astype(np.uint16)),
    "color.png": encoded(".png", np.dstack([IDS] * 3)),
    "gray.bmp": encoded(".bmp", IDS),
    "gray.tif": encoded(".tif", IDS),
    "float.tif": encoded(".tif", IDS.astype(np.float32)),
    "gray.pgm": encoded(".pgm", IDS),
}


def mutated(content: bytes, seed: int) -> bytes:
    """Changes, cuts, doubles or swaps some bytes; the first ones, where headers are, more often."""
    rng, data = random.Random(seed), bytearray(content)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(min(len(data), 64) if rng.random() < 0.5 else len(data))
        how = rng.randrange(5)
        if how == 0:
            data[place] = rng.randrange(256)
        elif how == 1:
            data[place] ^= 1 << rng.randrange(8)
        elif how == 2 and place:
            del data[place:]
        elif how == 3:
            data[place:place] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 8)))
        else:
            data[place : place + 4] = rng.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"])
    return bytes(data)


def folder(path: Path, image: tuple[str, bytes], label: tuple[str, bytes]) -> str:
    for part, (name, content) in (("images", image), ("labels", label)):
        (path / part).mkdir(parents=True)
        (path / part / name).write_bytes(content)
    (path / "classes.yaml").write_text(SETTINGS)
    return f"folder:{path}"


@pytest.mark.parametrize("name", LABELS)
def test_damaged_labels(tmp_path: Path, name: str) -> None:
    frame = encoded(".png", np.zeros((12, 20), np.uint8))
    for seed in range(60):
        content = mutated(LABELS[name], seed)
        spec = folder(tmp_path / str(seed), ("a.png", frame), (f"a.{name.split('.')[1]}", content))
        with suppress(InputError):
            label = open_split(spec, "all")[0].label_hw_u8
            assert label is not None
            assert (label.shape, label.dtype) == ((12, 20), np.uint8)
            assert set(np.unique(label)) <= {0, 1, 2, 255}


FRAMES = {
    "gray.png": encoded(".png", IDS * 80),
    "deep.tif": encoded(".tif", IDS.astype(np.uint16) * 1000),
    "float.tif": encoded(".tif", IDS.astype(np.float32)),
    "turned.jpg": turned_jpeg(IDS * 80, 6),
}


@pytest.mark.parametrize("name", FRAMES)
def test_damaged_frames(tmp_path: Path, name: str) -> None:
    label = "a.png", encoded(".png", IDS.T if name == "turned.jpg" else IDS)
    for seed in range(60):
        content = mutated(FRAMES[name], seed)
        spec = folder(tmp_path / str(seed), (f"a.{name.split('.')[1]}", content), label)
        (tmp_path / str(seed) / "classes.yaml").write_text(SETTINGS + "frames: {low: 0, high: 2000}\n")
        with suppress(InputError):
            sample = open_split(spec, "all")[0]
            assert sample.image_hwc_u8.dtype == np.uint8
            assert sample.image_hwc_u8.shape == (*sample.label_hw_u8.shape, 3)


def videos(path: Path) -> Iterator[Path]:
    times = [0.0, 0.04, 0.1, 0.3, 0.34, 0.38, 0.9, 1.0]
    for name, codec in (("a.mp4", "libx264"), ("a.ts", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mjpeg")):
        moments = [0.04 * number for number in range(8)] if codec == "mjpeg" else times
        write_timed(path / name, moments, codec=codec, starts_at=1.0 if name == "a.ts" else 0.0)
        yield path / name


@pytest.mark.long
def test_damaged_videos(tmp_path: Path) -> None:
    decoded = 0
    for whole in videos(tmp_path):
        content = whole.read_bytes()
        for seed in range(40):
            path = tmp_path / f"{seed}{whole.name}"
            path.write_bytes(mutated(content, seed))
            try:
                split = open_split(f"video:{path}", "all")
                samples = [split[index] for index in range(len(split))]
            except InputError:
                with pytest.raises(InputError):
                    read_all(path)
                continue
            decoded += 1
            frames = read_all(path)
            assert [frame.shown_at for frame in frames] == [sample.shown_at for sample in samples]
            times = [frame.shown_at for frame in frames]
            assert times[0] == 0
            assert times == sorted(set(times))
            # what stands for a frame that others refer to and that is lost is FFmpeg's, and not always the same
            for frame, sample in zip(frames, samples, strict=True):
                assert frame.image_hwc_u8.shape == sample.image_hwc_u8.shape
    assert decoded > 40


def read_all(path: Path) -> list:
    source, frames = open_source(str(path)), []
    while (frame := source.read()) is not None:
        frames.append(frame)
    source.close()
    return frames
