"""What becomes of a probe that cannot be made, and of what one finds."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from jetseg.advice import advising
from jetseg.advice.chains import Chain
from jetseg.advice.finding import Finding, Option
from jetseg.advice.plan import Plan
from jetseg.advice.probes import int8
from jetseg.advice.probes.distillation import Distillation
from jetseg.advice.probes.input_size import InputSize
from jetseg.advice.probes.low_rank import LowRank
from jetseg.advice.probes.output_stride import OutputStride
from jetseg.advice.probes.pruning import Pruning
from jetseg.advice.probes.two_four import TwoFour
from jetseg.advice.recipe_writing import make_recipe
from jetseg.engine.backend import BuildReport, Candidate
from jetseg.engine.config import BuildConfig
from jetseg.engine.contest import Contest
from jetseg.engine.result import EngineRejectedError
from jetseg.errors import ArtifactError


def probe(name, error=None, reason=""):
    class Made:
        share = 1.0

        def applies(self, bench):
            return reason

        def run(self, bench):
            if error is not None:
                raise error
            return Finding(self.name, notes=("it was tried",))

    Made.name = name
    return Made


def test_a_probe_that_fails_says_why_and_the_others_go_on(checkpoint, make_bench, monkeypatch):
    broken = probe("broken", ArtifactError("The network has no end.", "Give it one."))
    foreign = probe("foreign", ZeroDivisionError("nothing there"))
    monkeypatch.setattr(advising, "PROBES", (broken, foreign, probe("kept out", reason="not here"), probe("fine")))
    found = list(advising._run_probes(make_bench(checkpoint)))
    assert [finding.impossible for finding in found] == [
        "it failed: The network has no end. Give it one.",
        "it failed: ZeroDivisionError: nothing there",
        "not here",
        "",
    ]
    assert found[-1].notes == ("it was tried",)


def test_an_interruption_ends_all(checkpoint, make_bench, monkeypatch):
    monkeypatch.setattr(advising, "PROBES", (probe("interrupted", KeyboardInterrupt()), probe("fine")))
    with pytest.raises(KeyboardInterrupt):
        list(advising._run_probes(make_bench(checkpoint)))


def test_what_there_is_no_time_for_is_said(checkpoint, make_bench, monkeypatch):
    monkeypatch.setattr(advising, "PROBES", (probe("late"),))
    bench = make_bench(checkpoint)
    bench.clock.seconds = 0.0
    bench.clock.__post_init__()
    (found,) = advising._run_probes(bench)
    assert "no time was left" in found.impossible


def test_what_cannot_be_tried_takes_no_time_from_the_others(checkpoint, make_bench, monkeypatch):
    monkeypatch.setattr(advising, "PROBES", (probe("kept out", reason="not here"), probe("fine"), probe("as well")))
    bench, begun = make_bench(checkpoint), []
    monkeypatch.setattr(bench.clock, "begin", begun.append)
    list(advising._run_probes(bench))
    assert begun == [0.0, 0.4, pytest.approx(2 / 3)]  # a fifth is kept for chains


@pytest.mark.long
@pytest.mark.parametrize("kind", [Pruning, LowRank, TwoFour, InputSize, OutputStride])
def test_what_needs_torch_modules_is_said_to_be_impossible_for_an_onnx_file(kind, checkpoint, make_bench):
    bench = make_bench(make_bench(checkpoint).model(Plan()).path)
    assert "ONNX file" in kind().applies(bench)


def test_two_four_is_for_devices_with_sparse_tensor_cores(checkpoint, make_bench):
    assert "no sparse tensor cores" in TwoFour().applies(make_bench(checkpoint, target="xavier-nx"))
    assert TwoFour().applies(make_bench(checkpoint, target="orin-nano-8gb")) == ""
    assert "skips no zeros" in TwoFour().applies(make_bench(checkpoint))


@pytest.mark.long
def test_a_speed_that_is_published_stays_a_prior_in_its_chains_which_no_clock_here_contradicts(checkpoint, make_bench):
    bench = make_bench(checkpoint, target="orin-nano-8gb", max_drop=100)
    option = Option(Plan(two_four=True), 1.2, 1.2, 0.0, "prior", "prior", "papers")
    size = Option(Plan(size=(32, 64)), 1.5, 0.5, 0.0, "measured", "measured", "seen")
    findings = [Finding("2:4", (option,)), Finding("input size", (size,))]
    ranked = {chain.plan.techniques: chain for chain in advising._rank(bench, findings)}
    both = ranked["2:4", "input size"]
    assert (both.speedup, both.speed, both.speedup_from, both.confidence) == (pytest.approx(1.8), None, "prior", "low")
    alone = ranked[()]
    assert (alone.speed is not None, alone.speedup_from, alone.confidence) == (True, "measured", "high")


@pytest.mark.long
def test_a_smaller_input_and_coarser_logits_are_scored_without_training(checkpoint, make_bench):
    bench = make_bench(checkpoint)
    sizes = InputSize().run(bench)
    assert {option.plan.size for option in sizes.options} == {(32, 64), (64, 64)}
    (coarse,) = OutputStride().run(bench).options
    assert coarse.plan.stride == 2
    assert coarse.expected_drop == pytest.approx(bench.miou(Plan()) - bench.miou(Plan(stride=2)))
    assert coarse.hours == 0.0


@pytest.mark.long
def test_a_network_is_exported_once_whatever_its_precision(checkpoint, make_bench):
    bench = make_bench(checkpoint)
    assert bench.model(Plan(precision="int8")) is bench.model(Plan(distilled=True)) is bench.model(Plan())


@pytest.mark.long
def test_a_teacher_is_expected_to_give_a_share_of_the_distance(checkpoint, make_bench, monkeypatch):
    bench = make_bench(checkpoint, teacher=checkpoint)
    assert "not better" in Distillation().run(bench).impossible
    scores = {"val": 50.0, "train": 80.0}
    monkeypatch.setattr(type(bench), "miou_of", lambda _, network, split="val": scores[split])
    bench._mious[Plan()] = 48.0
    (found,) = Distillation().run(bench).options
    assert found.expected_drop == pytest.approx(-0.35 * 2.0)
    bench._mious[Plan()] = 10.0  # as far as nobody published
    (found,) = Distillation().run(bench).options
    assert found.expected_drop == pytest.approx(-0.35 * 3.9)
    assert found.plan.trains


def built(int8_ms, violations=(), float_because=None, before_ms=None, keep_float=()):
    contest = Contest(
        {"fp32": 10.0, "int8": int8_ms},
        {"fp32": Candidate("fp32", "fp32")},
        keep_float=frozenset({"fast"}),
        less_accurate_ms=before_ms,
    )
    return SimpleNamespace(
        violations=violations,
        contest=contest,
        float_because=float_because,
        agreement=SimpleNamespace(percent=99.5),
        report=BuildReport(integer_layers=("a",), float_layers=("b",), macs={"a": 75, "b": 25}),
        manifest=SimpleNamespace(
            precision="fp32" if float_because else "int8",
            stages=(SimpleNamespace(settings={"keep_float": list(keep_float)}),),
        ),
        parent_accuracy=SimpleNamespace(miou=60.0),
        accuracy=SimpleNamespace(miou=59.9),
        sensitive_layers=(),
        attempts=(),
        path=Path("x.rejected.onnx"),
    )


@pytest.fixture
def bench(checkpoint, make_bench):
    """Makes a workbench whose networks have the nodes "a", "fast" and "gone", but pruned ones no "gone"."""
    made = make_bench(checkpoint, max_drop=0.5)

    def model(plan):
        nodes = {"a": None, "fast": None} | ({} if plan.prune_ratio else {"gone": None})
        return SimpleNamespace(path=Path("x.onnx"), float_graph=lambda: SimpleNamespace(producer=nodes))

    made.model = model
    return made


def build_to(monkeypatch, result):
    """Lets a build end in this result, and returns the settings that it was asked for."""
    asked = []

    def build(network, config, enough, **_):
        asked.append((config, enough))
        if result.violations:
            raise EngineRejectedError(result)
        return result

    monkeypatch.setattr(int8, "build_engine", build)
    return asked


def test_int8_is_as_fast_as_the_engine_that_passes_the_gate(bench, monkeypatch):
    asked = build_to(monkeypatch, built(5.0, before_ms=4.0, keep_float=("fast", "a", "gone")))
    finding = int8.Int8().run(bench)
    ((config, enough),) = asked
    recipe = make_recipe(bench, Chain(int8.PLAN, 2.0, 0.1, 0.0))["stages"][-1]
    assert {name: recipe[name] for name in ("max_drop", "max_class_drop", "auto")} == {
        "max_drop": config.max_drop,
        "max_class_drop": config.max_class_drop,
        "auto": config.auto,
    }
    assert (config.max_drop, config.auto, config.min_agreement) == (0.5, True, BuildConfig().min_agreement)
    assert finding.options[0].speedup == 2.0
    note = next(note for note in finding.notes if "the gate refuses" in note)
    assert "2 nodes more in float (in all 25.0 % of the work)" in note
    assert "1.25 times as long, 5.00 ms in place of 4.00" in note
    assert not enough()
    bench.clock.begin(0.0)
    assert enough(), "attempts end with the time"


def test_what_the_gate_leaves_in_float_is_so_in_what_is_made_from_the_network(bench, monkeypatch):
    build_to(monkeypatch, built(5.0, before_ms=4.0, keep_float=("fast", "a", "gone")))
    int8.Int8().run(bench)
    bench.speed(Plan(prune_ratio=0.5, precision="int8"))
    assert bench.stopwatch.in_float[-1] == ["a"], "not what is fast in float, and not what is not there"
    bench.speed(Plan(size=(48, 64), precision="int8"))
    assert bench.stopwatch.in_float[-1] == ["a", "gone"]
    bench.speed(Plan(prune_ratio=0.5))
    bench.speed(Plan(instead="tiny", precision="int8"))
    assert bench.stopwatch.in_float[-2:] == [[], []]
    assert bench.speed(Plan(energy=0.9, precision="int8")).ms == 5.0 * 1.25, "other nodes, so the price of the gate"
    bench.gate_price = 3.0
    assert bench.speed(Plan(energy=0.8, precision="int8")).ms == 10.0, "a build hands over the float engine then"


def test_int8_that_passes_as_it_is_has_no_price(bench, monkeypatch):
    build_to(monkeypatch, built(4.0, keep_float=("fast",)))
    finding = int8.Int8().run(bench)
    assert (finding.options[0].speedup, bench.gate_price, bench.gate_floats) == (2.5, 1.0, ())
    assert not any("gate" in note for note in finding.notes)


def test_int8_that_no_mixture_saves_is_impossible(bench, monkeypatch):
    build_to(monkeypatch, built(4.0, float_because="no mixture"))
    assert int8.Int8().run(bench).impossible
    build_to(monkeypatch, built(4.0, ("too much is lost",)))
    assert int8.Int8().run(bench).impossible


def test_int8_that_there_was_no_time_to_save_is_said_to_be_slower(bench, monkeypatch):
    build_to(monkeypatch, built(4.0, ("too much is lost",)))
    bench.clock.begin(0.0)
    finding = int8.Int8().run(bench)
    assert finding.options[0].speedup == 2.5
    assert any("too much is lost" in note and "slower than is said" in note for note in finding.notes)
