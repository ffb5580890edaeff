import json
import shutil

import pytest
from small_network import write_dataset, write_small_network

from jetseg.data.dataset import open_dataset
from jetseg.engine.budget import accuracy_violations, collapse_violations
from jetseg.engine.build import build_engine as build_one
from jetseg.engine.config import Budget, BuildConfig
from jetseg.engine.engine import open_engine
from jetseg.engine.result import EngineRejectedError
from jetseg.errors import ConfigError
from jetseg.evaluation.agreement import VOID, Agreement
from jetseg.measured import Accuracy
from jetseg.network import load_manifest, open_network
from jetseg.quantization.ranges import open_ranges
from jetseg.workflows.building import build_engine
from jetseg.workflows.calibration import calibrate

OPEN = {"max_drop": 100.0, "max_class_drop": 100.0}


def accuracy(miou, **per_class):
    return Accuracy(data="d", split="s", frames=1, miou=miou, pixel_accuracy=None, per_class_iou=per_class)


def test_a_class_may_break_its_budget_while_the_mean_holds():
    before, after = accuracy(70.0, car=80.0, pole=60.0, sky=None), accuracy(70.1, car=81.7, pole=58.5, sky=10.0)
    assert accuracy_violations(Budget(), before, after) == (
        "IoU of pole fell from 60.00 to 58.50 (-1.50, allowed -1.00)",
    )
    assert accuracy_violations(Budget(class_budget={"pole": 2.0}), before, after) == ()
    strict = accuracy_violations(
        Budget(max_drop=0.0, class_budget={"pole": 0.2}), before, accuracy(69.9, car=70.0, pole=59.0, sky=None)
    )
    assert [sentence.split(" fell")[0] for sentence in strict] == ["mIoU", "IoU of car", "IoU of pole"]


def test_a_float_network_that_gives_nothing_but_void_judges_nothing():
    found = collapse_violations(Agreement(1, 100.0, {VOID: 100.0}, (VOID,)))
    assert found == ("the float network gives void at every pixel, so that nothing can be judged: see its manifest",)


@pytest.fixture
def calibrated(tmp_path):
    """A network and a ranges file in which one layer's input was damaged: it clips nearly everything."""
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data")
    ranges = tmp_path / "r.json"
    calibrate(model, data=data, split="all", out=ranges, preset="fast", method="minmax")
    content = json.loads(ranges.read_text())
    for key in ("low", "high", "amax"):
        content["tensors"]["both"][key] *= 0.01
    ranges.write_text(json.dumps(content))
    return {"network": model, "data": data, "split": "all", "eval_split": "all", "ranges": ranges}


@pytest.mark.long
def test_a_broken_build_names_the_layer_and_leaves_no_engine(calibrated, tmp_path):
    engine = tmp_path / "out" / "e.onnx"
    with pytest.raises(EngineRejectedError) as caught:
        build_engine(**calibrated, out=engine, max_drop=0.0, max_class_drop=0.0)
    result = caught.value.result
    assert caught.value.exit_code == 1
    assert not engine.exists()
    assert result.path == tmp_path / "out" / "e.rejected.onnx"
    assert result.sensitive_layers[0].layer == "c3"
    assert "c3" in str(caught.value)
    assert any(f"IoU of {name}" in str(caught.value) for name in ("road", "car", "sky"))
    open_engine(result.path).close()  # what is kept aside can be studied


@pytest.mark.long
def test_an_earlier_engine_survives_a_rejected_one(calibrated, tmp_path):
    engine = tmp_path / "e.onnx"
    build_engine(**{**calibrated, "ranges": None}, out=engine, preset="fast", **OPEN)
    earlier = engine.read_bytes()
    with pytest.raises(EngineRejectedError):
        build_engine(**calibrated, out=engine, max_drop=0.0, max_class_drop=0.0)
    assert engine.read_bytes() == earlier
    open_engine(engine).close()


def test_auto_finds_a_build_that_passes(calibrated, tmp_path):
    engine = tmp_path / "e.onnx"
    result = build_engine(**calibrated, out=engine, max_drop=1.0, max_class_drop=2.0, auto=True)
    assert engine.is_file()
    assert result.violations == ()
    assert result.attempts[0].startswith("as asked: ")
    assert result.attempts[-1].endswith("passed")
    assert len(result.attempts) > 1


def test_attempts_end_when_it_is_enough(calibrated, tmp_path):
    network, dataset = open_network(calibrated["network"]), open_dataset(calibrated["data"])
    config = BuildConfig(split="all", eval_split="all", max_drop=0.0, max_class_drop=0.0, auto=True, estimate=False)
    given = {"ranges": open_ranges(calibrated["ranges"], network), "dataset": dataset}
    asked = []

    def enough():
        asked.append(True)
        return len(asked) == 2

    with pytest.raises(EngineRejectedError) as caught:
        build_one(network, config, **given, out=tmp_path / "e.onnx", enough=enough)
    assert len(caught.value.result.attempts) == len(asked) == 2


def test_a_layer_stays_in_float_by_name(calibrated, tmp_path):
    result = build_engine(**calibrated, out=tmp_path / "e.onnx", keep_float=("c3",), **OPEN)
    assert "c3" in result.report.float_layers
    with pytest.raises(ConfigError, match="no layer nonsense"):
        build_engine(**calibrated, out=tmp_path / "e.onnx", keep_float=("nonsense",), **OPEN)


def test_without_labels_the_float_network_judges(calibrated, tmp_path):
    shutil.rmtree(tmp_path / "data" / "labels")
    passed = build_engine(**calibrated, out=tmp_path / "e.onnx", min_agreement=0.0)
    assert passed.agreement is not None
    assert passed.accuracy is None
    assert load_manifest(passed.path).accuracy == ()
    bar = passed.agreement.percent + 0.5
    with pytest.raises(
        EngineRejectedError, match=r"% of the pixels get the float network's class \(at least"
    ) as caught:
        build_engine(**calibrated, out=tmp_path / "other.onnx", min_agreement=bar)
    assert caught.value.result.sensitive_layers[0].layer == "c3"
    assert any(f"{name} keeps" in str(caught.value) for name in ("road", "car", "sky"))
    assert not (tmp_path / "other.onnx").exists()
    repaired = build_engine(**calibrated, out=tmp_path / "other.onnx", min_agreement=bar, auto=True)
    assert repaired.agreement.percent >= bar


def test_unknown_classes_and_auto_without_data_are_refused(calibrated, tmp_path):
    with pytest.raises(ConfigError, match="no class bus"):
        build_engine(**calibrated, out=tmp_path / "e.onnx", class_budget={"bus": 1.0})
    with pytest.raises(ConfigError, match="`auto` needs data"):
        build_engine(**{**calibrated, "data": None}, out=tmp_path / "e.onnx", auto=True)


def test_layers_are_kept_in_float_only_beside_integers(calibrated, tmp_path):
    with pytest.raises(
        ConfigError, match="`keep_float` is for engines with calibrated quantizers, and this fp32 one has none"
    ):
        build_engine(**{**calibrated, "precision": "fp32"}, out=tmp_path / "e.onnx", keep_float=("c3",))
