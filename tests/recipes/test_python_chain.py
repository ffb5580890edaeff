"""What a recipe makes, the same calls in Python make, to the last bit."""

import pytest
import yaml

import jetseg
from jetseg.engine import selection
from jetseg.recipes.recipe import load_recipe
from jetseg.recipes.run import run_recipe
from jetseg.storage import sha256_file

TRAINING = {"frames": 4, "crop_height": 64, "crop_width": 64}
STAGES = [
    {"stage": "train", "model": "tiny", "model_options": {"width": 8}, "epochs": 1, "batch_size": 2, **TRAINING},
    {"stage": "prune", "ratio": 0.5, "steps": 3, "epochs": 2, "training": TRAINING, "batch_size": 2},
    {"stage": "export"},
    {"stage": "calibrate", "images": 4, "preset": "fast"},
    {"stage": "build-engine", "precision": "auto", "eval_frames": 2, "max_drop": 100, "max_class_drop": 100},
]


@pytest.fixture
def steady_clock(monkeypatch):
    """Lets the same precision win every time, whatever else this machine does."""
    timed = selection.benchmark

    def benchmark(runs, **settings):
        found = timed(runs, **{**settings, "rounds": 1, "seconds": 0.01})
        latency = next(iter(found.values()))
        return dict.fromkeys(found, latency)

    monkeypatch.setattr(selection, "benchmark", benchmark)


@pytest.mark.long
@pytest.mark.usefixtures("steady_clock")
def test_ten_lines_of_python_make_the_files_of_a_recipe(tmp_path):
    recipe, made, out = tmp_path / "recipe.yaml", tmp_path / "recipe", tmp_path / "python"
    recipe.write_text(yaml.safe_dump({"description": "for a test", "stages": STAGES}))
    stages = run_recipe(load_recipe(str(recipe)), "synthetic:4", made)

    data = jetseg.open_dataset("synthetic:4")
    trained = jetseg.train(
        data=data, out=out, model="tiny", model_options={"width": 8}, epochs=1, batch_size=2, **TRAINING
    )
    pruned = jetseg.prune(
        trained.best,
        data=data,
        out=out / "p.safetensors",
        ratio=0.5,
        steps=3,
        epochs=2,
        batch_size=2,
        training=TRAINING,
    )
    exported = jetseg.export(pruned.checkpoint, out=out / "e.onnx")
    ranges = jetseg.calibrate(exported.network, data=data, images=4, preset="fast", out=out / "r.json")
    budget = {"max_drop": 100, "max_class_drop": 100}
    engine = jetseg.build_engine(
        exported.network, ranges=ranges, data=data, precision="auto", eval_frames=2, out=out / "engine", **budget
    )

    found = [trained.best, pruned.checkpoint, exported.path, ranges.path, engine.path]
    wanted = [next(iter(stage.artifacts.values())) for stage in stages]
    assert [sha256_file(path) for path in found] == [sha256_file(path) for path in wanted]
