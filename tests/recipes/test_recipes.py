"""Recipes: what a file may say, what is kept between runs, and what is run again."""

from pathlib import Path

import pytest
import yaml

from jetseg.errors import ConfigError, JetsegError
from jetseg.models.cost import module_cost
from jetseg.network import load_manifest
from jetseg.recipes import run as runner
from jetseg.recipes.recipe import Recipe, load_recipe, recipe_names
from jetseg.recipes.stages import KINDS, Kind
from jetseg.workflows import speed_meter
from jetseg.workflows.speed_meter import BackendMeter
from jetseg.workflows.stage_results import networks_of_run

CROPS = {"crop_height": 64, "crop_width": 64, "batch_size": 2, "epochs": 1}
STAGES = [
    {"stage": "train", "name": "student", "model": "tiny", "model_options": {"width": 8}, "frames": 4, **CROPS},
    {"stage": "prune", "ratio": 0.3},
    {"stage": "fine-tune", "teacher": "@student", "frames": 4, **CROPS},
    {"stage": "export"},
    {"stage": "calibrate", "images": 4, "preset": "fast", "method": "minmax"},
    {"stage": "build-engine", "eval_frames": 2, "max_drop": 100, "max_class_drop": 100},
]


def macs(layer):
    (rows, columns), (height, width) = layer.kernel, layer.output_size
    return layer.in_channels * layer.out_channels // layer.groups * rows * columns * height * width


def write(path: Path, stages: list[dict]) -> str:
    path.write_text(yaml.safe_dump({"description": "for a test", "stages": stages}))
    return str(path)


def test_every_shipped_recipe_is_sound():
    assert {"demo", "membrane"} <= set(recipe_names())
    for name in recipe_names():
        recipe = load_recipe(name)
        known = set()
        for spec in recipe.specs():
            references = {value[1:] for value in spec.settings.values() if str(value).startswith("@")}
            assert references <= known, f"{name}: {spec.name} refers to a later stage"
            known.add(spec.name)


@pytest.mark.long
def test_a_whole_chain_runs_once_and_then_only_what_changed(tmp_path):
    recipe = load_recipe(write(tmp_path / "r.yaml", STAGES))
    out = tmp_path / "out"
    first = runner.run_recipe(recipe, "synthetic:4", out)
    assert [result.name for result in first] == ["student", "prune", "fine-tune", "export", "calibrate", "build-engine"]
    assert all(result.seconds is not None for result in first)
    engine = load_manifest(first[-1].artifacts["engine"])
    names = [stage.name for stage in engine.stages]
    assert names == ["train", "prune", "distill", "export", "build-engine"]
    assert engine.accuracy[0].frames == 2

    files = {result.name: next(iter(result.artifacts.values())) for result in first}
    networks = {"student": files["student"], "prune": files["export"], "build-engine": files["build-engine"]}
    assert dict(networks_of_run(out)) == networks

    again = runner.run_recipe(recipe, "synthetic:4", out)
    assert [result.seconds for result in again] == [None] * 6
    assert [result.artifacts for result in again] == [result.artifacts for result in first]

    changed = load_recipe(str(tmp_path / "r.yaml"), ["calibrate.images=3"])
    third = runner.run_recipe(changed, "synthetic:4", out)
    assert [result.seconds is None for result in third] == [True] * 4 + [False] * 2

    first[3].artifacts["onnx"].write_bytes(b"damaged")
    fourth = runner.run_recipe(recipe, "synthetic:4", out)
    assert [result.seconds is None for result in fourth] == [True] * 3 + [False, True, True]


def test_a_network_is_pruned_to_a_speed_and_factorized(tmp_path, monkeypatch):
    class Meter(BackendMeter):
        """Takes what a network computes for its time, so that the test does not depend on the machine."""

        def networks_ms(self, networks):
            return [module_cost(network, (1, 3, 192, 320)).macs / 1e6 for network in networks]

        def layers_ms(self, pieces):
            return [sum(macs(layer) for layer in piece) / 1e6 for piece in pieces]

    monkeypatch.setattr(speed_meter, "BackendMeter", Meter)
    stages = [STAGES[0], {"stage": "factorize", "size_only": True, "energy": 0.7}]
    first, second = runner.run_recipe(load_recipe(write(tmp_path / "r.yaml", stages)), "synthetic:4", tmp_path / "out")
    sizes = [result.artifacts["checkpoint"].stat().st_size for result in (first, second)]
    assert sizes[1] < sizes[0]
    stages = [STAGES[0], {"stage": "prune", "speedup": 1.5, "round_to": 1}]
    _, pruned = runner.run_recipe(load_recipe(write(tmp_path / "s.yaml", stages)), "synthetic:4", tmp_path / "out")
    assert pruned.artifacts["checkpoint"].stat().st_size < sizes[0]


def test_other_data_is_other_work(tmp_path, monkeypatch):
    calls = []

    def fake(settings):
        calls.append(settings)
        file = settings["out"] / "best.safetensors"
        file.write_text("weights")
        return {"checkpoint": file}

    monkeypatch.setitem(KINDS, "train", Kind(fake, {}, out=""))
    recipe = Recipe(description="d", stages=({"stage": "train", "epochs": 1},))
    for data in ("synthetic:2", "synthetic:3", "synthetic:2"):
        runner.run_recipe(recipe, data, tmp_path)
    assert [call["data"] for call in calls] == ["synthetic:2", "synthetic:3"]


def test_a_stage_with_other_data_of_its_own_is_other_work(tmp_path, monkeypatch):
    calls = []

    def fake(settings):
        calls.append(settings["data"])
        file = settings["out"] / "best.safetensors"
        file.write_text("weights")
        return {"checkpoint": file}

    monkeypatch.setitem(KINDS, "train", Kind(fake, {}, out=""))
    for own in ("synthetic:2", "synthetic:3", "synthetic:2"):
        recipe = Recipe(description="d", stages=({"stage": "train", "data": own},))
        runner.run_recipe(recipe, "synthetic:4", tmp_path)
    assert calls == ["synthetic:2", "synthetic:3"]


@pytest.mark.parametrize(
    ("stages", "reason"),
    [
        ([{"stage": "tarin"}], "'tarin', and must be one of train, fine-tune"),
        ([{"stage": "export"}, {"stage": "export"}], "two stages have the name export"),
        ([], "stages"),
    ],
)
def test_malformed_recipes_are_explained(tmp_path, stages, reason):
    with pytest.raises(ConfigError, match=reason):
        load_recipe(write(tmp_path / "r.yaml", stages))


def test_mistakes_of_users_are_explained(tmp_path):
    with pytest.raises(ConfigError, match=r"no recipe raod.*demo"):
        load_recipe("raod")
    path = write(tmp_path / "r.yaml", [{"stage": "train", "teacher": "@later"}])
    with pytest.raises(ConfigError, match="refers to @later, and no stage before it"):
        runner.run_recipe(load_recipe(path), "synthetic:2", tmp_path)
    with pytest.raises(ConfigError, match=r"Write it as STAGE.KEY=VALUE; the stages are train"):
        load_recipe(path, ["trian.epochs=3"])
    path = write(tmp_path / "r.yaml", [{"stage": "train", "epoch": 3}])
    with pytest.raises(JetsegError, match="epoch"):
        runner.run_recipe(load_recipe(path), "synthetic:2", tmp_path)


def test_nested_settings_are_changed(tmp_path):
    recipe = load_recipe(write(tmp_path / "r.yaml", STAGES), ["student.model_options.width=4", "student.lr=0.1"])
    assert recipe.specs()[0].settings["model_options"] == {"width": 4}
    assert recipe.specs()[0].settings["lr"] == 0.1
    assert recipe.specs()[0].settings["epochs"] == 1


def test_a_folder_without_a_finished_stage_is_no_run(tmp_path):
    (tmp_path / "01-student-0a1b2c3d").mkdir()
    with pytest.raises(ConfigError, match="no finished stage"):
        networks_of_run(tmp_path)


@pytest.mark.long
def test_settings_that_were_changed_leave_networks_with_names_of_their_own(tmp_path):
    stages = [STAGES[0], {"stage": "export"}]
    for width in (8, 16):
        changed = [{**stages[0], "model_options": {"width": width}}, stages[1]]
        runner.run_recipe(load_recipe(write(tmp_path / "r.yaml", changed)), "synthetic:4", tmp_path / "out")
    names = [name for name, _ in networks_of_run(tmp_path / "out")]
    assert len(set(names)) == len(names) == 2
    assert all(name.startswith("student (02-export-") for name in names)


@pytest.mark.parametrize(
    ("change", "words"),
    [("train.stage=foo", "must be one of"), ("train.name=export", "two stages"), ("train.name=a/b", "names no folder")],
)
def test_changes_are_checked_as_the_file_is(tmp_path, change, words):
    path = tmp_path / "mine.yaml"
    path.write_text("description: d\nstages: [{stage: train}, {stage: export}]\n")
    with pytest.raises(ConfigError, match=words):
        load_recipe(str(path), [change])


def test_mistakes_of_later_stages_are_told_before_the_first_one_runs(tmp_path):
    stages = [STAGES[0], {"stage": "prune", "ratio": 2.0, "epochs": -1}, *STAGES[2:]]
    with pytest.raises(ConfigError, match=r"(?s)Stage prune: .*ratio.*epochs"):
        runner.run_recipe(load_recipe(write(tmp_path / "r.yaml", stages)), "synthetic:4", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", recipe_names())
def test_settings_of_shipped_recipes_are_known(name):
    for spec in load_recipe(name).specs():
        KINDS[spec.kind].check(spec.settings)


@pytest.mark.long
def test_a_recipe_prunes_in_steps_and_fine_tunes_as_the_verb_does(tmp_path):
    training = {"frames": 4, "crop_height": 64, "crop_width": 64}
    tuned = {"epochs": 2, "batch_size": 2, "teacher": "@student", "training": training}
    stages = [STAGES[0], {"stage": "prune", "ratio": 0.5, "round_to": 1, "steps": 2, **tuned}]
    _, pruned = runner.run_recipe(load_recipe(write(tmp_path / "r.yaml", stages)), "synthetic:4", tmp_path / "out")
    manifest = load_manifest(pruned.artifacts["checkpoint"])
    assert [stage.name for stage in manifest.stages] == ["train", "prune", "distill", "prune", "distill"]
    assert manifest.accuracy


def test_where_low_rank_pays_for_no_layer_the_network_is_passed_on(tmp_path):
    stages = [STAGES[0], {"stage": "factorize", "size_only": True, "energy": 1.0, "round_to": 64}]
    first, second = runner.run_recipe(load_recipe(write(tmp_path / "r.yaml", stages)), "synthetic:4", tmp_path / "out")
    assert first.artifacts["checkpoint"].read_bytes() == second.artifacts["checkpoint"].read_bytes()


@pytest.mark.long
def test_quantize_is_the_old_name_of_qat_and_the_fastest_precision_is_built(tmp_path, caplog):
    stages = [
        STAGES[0],
        STAGES[3],
        STAGES[4],
        {
            "stage": "quantize",
            "epochs": 1,
            "batch_size": 2,
            "frames": 2,
            "labels": False,
            "val_split": "val",
            "ranges": "fixed",
        },
        {"stage": "build-engine", "precision": "auto", "eval_frames": 2, "max_drop": 100, "max_class_drop": 100},
    ]
    recipe = load_recipe(write(tmp_path / "r.yaml", stages))
    assert "`quantize` is now called `qat`" in caplog.text
    results = runner.run_recipe(recipe, "synthetic:4", tmp_path / "out")
    assert [(result.name, result.kind) for result in results[-2:]] == [("quantize", "qat"), ("build-engine",) * 2]
    engine = load_manifest(results[-1].artifacts["engine"])
    assert [stage.name for stage in engine.stages if stage.name in ("qat", "build-engine")] == ["qat", "build-engine"]
    assert {"fp32", "int8"} <= engine.stages[-1].settings["auto_p50_ms"].keys()
