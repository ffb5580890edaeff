"""A search on real networks: from a checkpoint to an engine within the budget, with the recipe that makes it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import jetseg

pytest.importorskip("optuna")
from cheap_search import GIVEN, cheap_facts
from typer.testing import CliRunner

from jetseg.address import StorageAddress
from jetseg.cli.main import app
from jetseg.errors import ConfigError
from jetseg.input_spec import InputSpec
from jetseg.network import load_manifest
from jetseg.recipes.recipe import load_recipe
from jetseg.recipes.run import run_recipe
from jetseg.searching.chains import Chain
from jetseg.searching.config import SearchConfig
from jetseg.searching.facts import Facts
from jetseg.searching.optuna_library import open_storage
from jetseg.searching.search import JOURNAL
from jetseg.searching.space import fixed_of, space_of, usual_of
from jetseg.searching.studies import begin

DATA = "synthetic:8"
SETTINGS = {
    "budget_ratio": 0.8,
    "trials": 2,
    "reduction": 2,
    "short_epochs": 1,
    "epochs": 1,
    "images": 4,
    "engine_drop": 100.0,
    "engine_class_drop": 100.0,
    "fix": {"low_rank": "none", "criterion": "magnitude", "batch_size": "4"},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    out = tmp_path_factory.mktemp("given")
    small = {"height": 64, "width": 96, "model": "tiny", "model_options": {"width": 16}}
    return jetseg.train(data=DATA, out=out, epochs=6, lr=0.02, batch_size=4, validate_every=6, **small).best


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_best_engine_keeps_to_the_budget_and_its_recipe_makes_it_again(checkpoint, tmp_path):
    result = jetseg.search(checkpoint, data=DATA, out=tmp_path, **SETTINGS)
    assert (result.trials.complete, result.trials.pruned, result.trials.failed) == (1, 1, 0), result.lost
    best = result.best
    assert best.latency_ms <= result.budget_ms == pytest.approx(0.8 * result.given["latency_ms"])
    assert load_manifest(Path(best.engine)).accuracy[0].miou == best.miou
    assert best in result.front
    assert {bought.choice for bought in result.bought} == set(best.choices) - set(SETTINGS["fix"])
    stages = run_recipe(load_recipe(str(result.recipe)), DATA, tmp_path / "stages")
    assert all(stage.seconds is None for stage in stages), "it is what was made"
    assert str(stages[-1].artifacts["engine"]) == best.engine

    before = (tmp_path / JOURNAL).read_bytes()
    again = jetseg.search(checkpoint, data=DATA, out=tmp_path, **SETTINGS)
    assert again == result
    joined = CliRunner().invoke(app, ["search", "--join", str(tmp_path / JOURNAL), "--out", str(tmp_path), "--json"])
    assert joined.exit_code == 0, joined.output
    told = json.loads(joined.stdout)
    assert (told["best"]["engine"], told["trials"]["complete"]) == (best.engine, 1)
    assert (tmp_path / JOURNAL).read_bytes() == before, "nothing new"
    with pytest.raises(ConfigError, match="seed: 0 then, 1 now"):
        jetseg.search(checkpoint, data=DATA, out=tmp_path, **SETTINGS, seed=1)


def chain(**params):
    config = SearchConfig(budget_ms=5)
    return Chain(
        config,
        usual_of(space_of(config)) | params,
        Path("a.safetensors"),
        InputSpec(height=180, width=240),
        5,
        Path("a.safetensors"),
    )


def test_a_chain_is_a_recipe_whose_trainings_go_on_from_each_other():
    stages = chain(low_rank="spatial", input_scale=0.75, distillation="cwd").training((1, 6), prunes=True)
    assert [stage.get("name", stage["stage"]) for stage in stages] == ["resize", "factorize", "prune", "probe", "short"]
    assert (stages[0]["height"], stages[0]["width"], stages[0]["checkpoint"]) == (136, 180, "a.safetensors")
    assert stages[2]["target_latency_ms"] == 4.75
    assert stages[3]["distill"] == {"kd_weight": 0.0, "cwd_weight": 1.0}
    whole = chain().recipe([*chain().training((1,), prunes=False), *chain().building(2)])
    assert whole.stages[0]["init"] == "a.safetensors"
    assert [spec.kind for spec in whole.specs()] == ["fine-tune", "export", "build-engine"]
    # learning to estimate accuracy takes longer than a short training, and only the result needs it
    assert [chain().building(rung)[-1]["estimate"] for rung in (1, 2)] == [False, True]


def test_what_is_chosen_follows_from_backend_precision_and_budget():
    cpu = space_of(SearchConfig(budget_ms=5))
    assert cpu["scheme"].options == ("uint8", "int8")
    assert not {"placement", "two_four", "speedup"} & set(cpu)
    jetson = space_of(SearchConfig(backend="tensorrt"))
    assert {"placement", "two_four", "speedup"} <= set(jetson)
    assert "mixed" not in space_of(SearchConfig(precision="fp32"))


@pytest.mark.parametrize(
    ("fix", "words"), [({"lr": "9"}, "from 0.0002 to 0.005"), ({"color": "red"}, "no choice color")]
)
def test_what_cannot_be_fixed_is_named(fix, words):
    with pytest.raises(ConfigError, match=words):
        fixed_of(SearchConfig(fix=fix))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"budget_ms": 1, "budget_ratio": 0.5}, "not both"),
        ({"training": {"lr": 1}}, "search's own business"),
        ({"trials": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_before_anything_is_opened(settings, words):
    with pytest.raises(ConfigError, match=words):
        jetseg.search("none.safetensors", data=DATA, **settings)


def test_one_that_joins_takes_the_settings_of_the_search():
    with pytest.raises(ConfigError, match="leave out trials"):
        jetseg.search(join="none.journal", trials=3)
    with pytest.raises(ConfigError, match="There is no search in none.journal"):
        jetseg.search(join="none.journal")


@pytest.mark.parametrize(
    ("then", "words"),
    [
        ({"checkpoint_sha256": "1" * 64}, "network: another one"),
        ({"data_sha256": "1" * 64}, "data: another one"),
        (
            {"space": {"criterion": "taylor"}},
            "(?s)choice criterion: taylor then, taylor, activation.*input_scale: none",
        ),
        ({"version": "0.0"}, "jetseg: 0.0 then"),
    ],
)
def test_what_a_worker_has_otherwise_is_refused_before_anything_is_made(tmp_path, monkeypatch, then, words):
    network = SimpleNamespace(
        path=tmp_path / "given.safetensors",
        name="given",
        sha256="0" * 64,
        manifest=SimpleNamespace(kind="checkpoint", output=SimpleNamespace(task="segmentation"), outputs=(0,)),
    )
    module = sys.modules["jetseg.searching.search"]
    monkeypatch.setattr(module, "as_network", lambda given: network)

    def made(*args):
        raise AssertionError("the given network was made before it was compared")

    monkeypatch.setattr(module, "GivenNetwork", made)
    here = module._identity(network, "synthetic:2", cheap_facts().config)
    facts = Facts(**{**dict(here), **GIVEN, **then})
    journal = tmp_path / JOURNAL
    with open_storage(StorageAddress(str(journal)), make=True) as storage:
        begin(storage, "cheap", facts)
    with pytest.raises(ConfigError, match=words):
        jetseg.search(join=str(journal), out=tmp_path)
    with pytest.raises(ConfigError, match=words):
        jetseg.search(network, data="synthetic:2", out=tmp_path, name="cheap", trials=24, budget_ratio=0.5)
