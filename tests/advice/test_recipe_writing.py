"""The recipe of a chain: one that runs, with the settings that the probes had."""

import numpy as np
import pytest

from jetseg.advice.chains import Chain
from jetseg.advice.plan import Plan
from jetseg.advice.recipe_writing import make_recipe, write_recipe
from jetseg.compress.config import PruneConfig
from jetseg.engine.engine import open_engine
from jetseg.recipes.recipe import load_recipe
from jetseg.recipes.run import run_recipe
from jetseg.recipes.stages import KINDS

INT8 = {"precision": "int8"}
PLANS = {
    "as it is": (Plan(), ["export", "build-engine"]),
    "int8": (Plan(**INT8), ["export", "build-engine"]),
    "smaller": (Plan(size=(48, 64), **INT8), ["export", "build-engine"]),
    "coarse": (Plan(stride=2), ["export", "build-engine"]),
    "pruned": (Plan(prune_ratio=0.5, **INT8), ["prune", "fine-tune", "export", "build-engine"]),
    "all": (
        Plan(prune_ratio=0.5, energy=0.9, two_four=True, size=(48, 64), qat=True, **INT8),
        ["prune", "factorize", "prune", "fine-tune", "export", "qat", "build-engine"],
    ),
    "distilled": (Plan(distilled=True), ["fine-tune", "export", "build-engine"]),
    "another": (Plan(instead="unet", **INT8), ["train", "export", "build-engine"]),
}


def chain(plan):
    return Chain(plan, 2.0, 0.5, 1.0)


@pytest.mark.parametrize("name", PLANS)
def test_each_plan_has_its_stages_and_a_recipe_takes_them(name, checkpoint, make_bench, tmp_path):
    plan, stages = PLANS[name]
    write_recipe(make_bench(checkpoint), chain(plan), tmp_path / "advice.yaml")
    recipe = load_recipe(str(tmp_path / "advice.yaml"))
    assert [spec.kind for spec in recipe.specs()] == stages
    for spec in recipe.specs():
        KINDS[spec.kind].check(spec.settings)
    first = recipe.specs()[0].settings
    if plan.instead is None:
        assert str(checkpoint) in (first.get("checkpoint"), first.get("init"))


def test_an_int8_engine_that_the_gate_refuses_is_built_anew(checkpoint, make_bench):
    bench = make_bench(checkpoint)
    assert make_recipe(bench, chain(Plan(precision="int8")))["stages"][-1]["auto"] is True
    assert "auto" not in make_recipe(bench, chain(Plan()))["stages"][-1]


def test_the_recipe_prunes_the_channels_that_the_probe_pruned(checkpoint, make_bench):
    from jetseg.advice.structure import prune_settings

    bench, plan = make_bench(checkpoint, seed=3), Plan(prune_ratio=0.25)
    stage = dict(make_recipe(bench, chain(plan))["stages"][0])
    del stage["stage"], stage["checkpoint"]
    assert PruneConfig(**stage) == PruneConfig(**prune_settings(bench, plan))


def test_a_repair_goes_on_with_the_loss_that_the_network_was_trained_by(checkpoint, make_bench):
    stages = make_recipe(make_bench(checkpoint, epochs=7), chain(Plan(prune_ratio=0.5)))["stages"]
    (training,) = [stage for stage in stages if stage["stage"] == "fine-tune"]
    assert (training["class_weights"], training["optimizer"], training["epochs"]) == ("enet", "sgd", 7)
    assert training["lr"] != 0.5
    assert training["ema_decay"] < 0.9  # 10 steps
    assert training["teacher"] == str(checkpoint)


def test_a_smaller_input_is_trained_at_where_there_is_training_anyway(checkpoint, make_bench):
    stages = make_recipe(make_bench(checkpoint), chain(Plan(prune_ratio=0.5, size=(48, 64))))["stages"]
    (training,) = [stage for stage in stages if stage["stage"] == "fine-tune"]
    assert (training["height"], training["width"]) == (48, 64)


@pytest.mark.long
@pytest.mark.parametrize("qat", [False, True])
def test_an_onnx_file_is_named_in_each_stage_that_gets_no_other(qat, checkpoint, make_bench):
    bench = make_bench(checkpoint)
    onnx_bench = make_bench(bench.model(Plan()).path)
    stages = make_recipe(onnx_bench, chain(Plan(precision="int8", qat=qat)))["stages"]
    path = str(onnx_bench.network.path)
    given = [stage.get("model") or stage.get("parent") for stage in stages]
    assert given == ([path, None] if qat else [path])


@pytest.mark.long
def test_a_manifest_from_elsewhere_is_named_as_well(checkpoint, make_bench, tmp_path):
    bench = make_bench(make_bench(checkpoint).model(Plan()).path)
    bench.manifest_file = tmp_path / "elsewhere.yaml"
    stages = make_recipe(bench, chain(Plan(precision="int8")))["stages"]
    assert {stage["manifest"] for stage in stages} == {str(tmp_path / "elsewhere.yaml")}


@pytest.mark.long
def test_the_recipe_of_a_smaller_coarser_engine_runs(checkpoint, make_bench, tmp_path):
    write_recipe(make_bench(checkpoint, max_drop=100), chain(Plan(size=(48, 64), stride=2)), tmp_path / "advice.yaml")
    *_, built = run_recipe(load_recipe(str(tmp_path / "advice.yaml")), "synthetic:12", tmp_path / "run")
    with open_engine(built.artifacts["engine"], threads=1) as engine:
        spec = engine.manifest.input
        assert (spec.height, spec.width) == (48, 64)
        assert engine.segment(np.zeros((64, 96, 3), np.uint8)).shape == (24, 32)


def test_an_engine_for_another_computer_is_built_there(checkpoint, make_bench):
    stages = make_recipe(make_bench(checkpoint, target="orin-nano-8gb"), chain(Plan(precision="int8")))["stages"]
    assert [stage["stage"] for stage in stages] == ["export", "calibrate"]
    bench = make_bench(make_bench(checkpoint).model(Plan()).path, target="orin-nano-8gb")
    assert make_recipe(bench, chain(Plan()))["stages"] == []
