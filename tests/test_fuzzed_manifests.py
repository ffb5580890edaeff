"""Manifests and other texts with anything in them are valid or refused in a sentence."""

import copy
import json

import pytest
from small_network import content_sha256, small_manifest

from jetseg.cli.settings_file import layered
from jetseg.config import validate_config
from jetseg.data.dataset import open_split
from jetseg.errors import InputError, ManifestError
from jetseg.manifest_file import read_manifest
from jetseg.network import Network
from jetseg.quantization.ranges import open_ranges
from jetseg.recipes.recipe import load_recipe
from jetseg.training.config import TrainConfig
from jetseg.trust import read_user_settings

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
    "sha256": "0" * 64,
}
ANYTHING = (None, True, -1, 0, 1e308, 10**400, float("nan"), "", "x" * 1000, "\ud800", [], [[]], {}, {"": None}, [None])


def places(value, path=()):
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places(part, (*path, key))


@pytest.mark.long
@pytest.mark.fuzz
def test_manifests_with_anything_in_them(tmp_path, trials):
    every = [path for path in places(WHOLE) if path]
    file, count, valid = tmp_path / "net.onnx.json", 0, 0
    for draw in trials(1500):
        count += 1
        changed = copy.deepcopy(WHOLE)
        for path in draw.sample(every, draw.choice((1, 1, 3))):
            holder = changed
            try:
                for key in path[:-1]:
                    holder = holder[key]
                holder[path[-1]] = copy.deepcopy(draw.choice(ANYTHING))
            except (KeyError, IndexError, TypeError):
                continue
        changed = json.loads(json.dumps(changed))  # keys as text
        digest = content_sha256(changed)
        file.write_text(json.dumps({**changed, "content_sha256": digest}))
        try:
            read_manifest(file, tmp_path / "net.onnx")
            valid += 1
        except ManifestError as error:
            assert str(file) in str(error)  # noqa: PT017 - most are refused
    assert 0.03 * count < valid < 0.5 * count


@pytest.mark.fuzz
def test_manifests_with_another_digit(tmp_path, trials):
    """Refused wherever the digit is; the only ones that are not say the same in other digits."""
    sealed = {**WHOLE, "content_sha256": content_sha256(WHOLE)}
    text, file = json.dumps(sealed), tmp_path / "net.onnx.json"
    digits = [place for place, character in enumerate(text) if character.isdigit()]
    for draw in trials(300):
        place = draw.choice(digits)
        changed = text[:place] + draw.choice("0123456789") + text[place + 1 :]
        file.write_text(changed)
        try:
            read_manifest(file, tmp_path / "net.onnx")
        except ManifestError:
            continue
        assert json.loads(changed) == sealed


CLASSES_YAML = {
    "classes": ["sky", "road"],
    "palette": [[0, 0, 0], [9, 9, 9]],
    "ignore_index": 255,
    "label_values": {"7": 0, "8": 1},
    "splits": {"train": ["a", "b"], "val": ["c"]},
    "root": "elsewhere",
    "frames": {"low": 0, "high": 4095},
    "labels": {"read": "index"},
}
RECIPE = {
    "description": "A chain.",
    "stages": [
        {"stage": "train", "name": "student", "model": "tiny", "model_options": {"width": 8}, "epochs": 1},
        {"stage": "prune", "ratio": 0.5, "keep": ["head"]},
    ],
}
TRAINING = {"model": "tiny", "epochs": 1, "augment": {"scale": [0.7, 2.0]}, "lr_factors": {"encoder.*": 0.3}}
RANGES = {
    "format": 2,
    "method": "mse",
    "data": "folder:x",
    "data_sha256": "0" * 64,
    "model_sha256": "0" * 64,
    "frames": 8,
    "preprocessing": {"height": 24, "width": 32},
    "tensors": {"image": {"low": -1.0, "high": 1.0}},
    "networks": {"onnxruntime": {"file": "../x.onnx", "sha256": "0" * 64}},
}
NASTY = (
    "&a [*a]",
    "*a",
    "!!int ''",
    "!!python/object/apply:os.system [x]",
    "2024-13-45",
    "[" * 99,
    "\x00",
    "\t",
    "<<: 1",
)


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", ["classes.yaml", "recipe", "settings of training", "settings of the user", "ranges"])
def test_texts_with_anything_in_them(tmp_path, trials, monkeypatch, kind):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    places_ = {
        "classes.yaml": (CLASSES_YAML, "classes.yaml", lambda _: open_split(f"folder:{tmp_path}", "train")),
        "recipe": (RECIPE, "r.yaml", lambda file: load_recipe(str(file)).specs()),
        "settings of training": (
            TRAINING,
            "t.yaml",
            lambda file: validate_config(TrainConfig, layered(file, {"data": "synthetic", "out": "x"}, ())),
        ),
        "settings of the user": (
            {"trusted_factories": ["a:b"]},
            "jetseg/settings.yaml",
            lambda _: read_user_settings(),
        ),
        "ranges": (
            RANGES,
            "r.json",
            lambda file: open_ranges(file, Network(tmp_path / "n.onnx", small_manifest(), "0" * 64)),
        ),
    }
    whole, name, read = places_[kind]
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    every = [path for path in places(whole) if path]
    for draw in trials(200):
        changed = copy.deepcopy(whole)
        holder, path = changed, draw.choice(every)
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = copy.deepcopy(draw.choice(ANYTHING))
        text = json.dumps(changed)
        if draw.random() < 0.5:
            place = draw.randrange(len(text))
            text = text[:place] + draw.choice(NASTY) + text[place + draw.randint(0, 3) :]
        file.write_text(text)
        try:
            read(file)
        except InputError as error:
            assert str(error)  # noqa: PT017 - most are refused
