"""A manifest with anything in it is valid or refused in a sentence."""

import copy
import json
import random

from jetseg.errors import ManifestError
from jetseg.manifest_file import read_manifest

WHOLE = {
    "format": 2,
    "kind": "onnx",
    "input": {
        "name": "image",
        "kind": "normalized",
        "height": 90,
        "width": 120,
        "color": "rgb",
        "scale": 0.01,
        "mean": [0.4, 0.4, 0.4],
        "std": [0.2, 0.2, 0.2],
        "layout": "nchw",
        "frames": {"low": 0, "high": 4095},
    },
    "outputs": [{"kind": "logits", "classes": ["sky", "road"], "palette": [[0, 0, 0], [9, 9, 9]], "ignore_index": 255}],
    "model": {
        "factory": "tiny",
        "options": {"width": 8},
        "stated_sizes": {"body": {"eval": {"0": {"1": [8, 4]}}}},
    },
    "stages": [{"name": "train", "settings": {"epochs": 3}}],
    "toolchain": {"jetseg": "0.2.0"},
}
ANYTHING = (None, True, -1, 0, 1e308, 10**400, float("nan"), "", "x" * 1000, "\ud800", [], [[]], {}, {"": None}, [None])


def places(value, path=()):
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places(part, (*path, key))


def test_manifests_with_anything_in_them(tmp_path):
    draw = random.Random(0)
    every = [path for path in places(WHOLE) if path]
    file, valid = tmp_path / "net.onnx.json", 0
    for trial in range(1500):
        changed = copy.deepcopy(WHOLE)
        for path in draw.sample(every, 1 if trial < 1000 else 3):
            holder = changed
            try:
                for key in path[:-1]:
                    holder = holder[key]
                holder[path[-1]] = copy.deepcopy(draw.choice(ANYTHING))
            except (KeyError, IndexError, TypeError):
                continue
        file.write_text(json.dumps(changed))
        try:
            read_manifest(file, tmp_path / "net.onnx")
            valid += 1
        except ManifestError as error:
            assert str(file) in str(error)  # noqa: PT017 - most are refused
    assert 50 < valid < 750
