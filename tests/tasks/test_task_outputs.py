"""Several outputs in a manifest, and a foreign network with two of them: calibrated, gated, built and run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_network import write_dataset

import jetseg
from jetseg.camera.sinks.class_map_files import ClassMapFiles
from jetseg.camera.sinks.ring import RingReader
from jetseg.camera.task_pictures import draw_tasks
from jetseg.data.dataset import select_targets
from jetseg.data.joined import JoinedSplits
from jetseg.errors import ManifestError
from jetseg.evaluation.task_budget import budgets_of, task_violations
from jetseg.evaluation.tasks import make_meter, measure_tasks
from jetseg.manifest import Manifest
from jetseg.output_spec import OutputSpec
from jetseg.postprocess import depth_map, same_share, task_maps

HEIGHT, WIDTH = 24, 32
OUTPUTS = [
    {"name": "drivable", "task": "binary", "classes": ["other", "drivable"]},
    {"name": "lane", "task": "binary", "threshold": 0.6},
    {"name": "depth", "task": "depth", "depth": {"low": 2, "high": 50}},
]


def manifest(**changes) -> Manifest:
    spec = {"height": HEIGHT, "width": WIDTH, "scale": 1 / 255}
    return Manifest.model_validate({"input": spec, "outputs": OUTPUTS, **changes})


def three_outputs(path: Path) -> Path:
    """A network of one shared convolution and a head per output, made without jetseg."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(0, 0.5, (8, 3, 3, 3))}
    weights |= {f"w_{output['name']}": rng.normal(0, 1.5, (1, 8, 1, 1)) for output in OUTPUTS}
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["features"], ["shared"]),
        *(helper.make_node("Conv", ["shared", f"w_{output['name']}"], [output["name"]]) for output in OUTPUTS),
    ]
    ends = [helper.make_tensor_value_info(o["name"], TensorProto.FLOAT, [1, 1, HEIGHT, WIDTH]) for o in OUTPUTS]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "foreign", [image], ends, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    path.with_name(f"{path.name}.json").write_text(
        json.dumps({"input": manifest().input.model_dump(), "outputs": OUTPUTS})
    )
    return path


def test_a_manifest_says_what_goes_without_saying_about_masks_and_depth():
    drivable, lane, depth = manifest().outputs
    assert lane.classes == ("background", "lane")
    assert (lane.activation, depth.activation, depth.classes) == ("sigmoid", "sigmoid", ())
    assert [task.output.name for task in manifest().tasks] == ["drivable", "lane", "depth"]
    assert manifest().tasks[1].classes == lane.classes
    assert drivable.channels == depth.channels == 1
    assert Manifest.model_validate_json(manifest().model_dump_json()) == manifest()


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ({"task": "depth", "classes": ["a"]}, "has none"),
        ({"task": "depth", "depth": {"low": 5, "high": 2}}, "below high"),
        ({"task": "depth", "activation": "softmax"}, "one channel"),
        ({"task": "binary", "classes": ["a", "b", "c"]}, "two classes"),
        ({"task": "segmentation"}, "at least one class"),
    ],
)
def test_outputs_that_contradict_themselves_are_refused(output, words):
    with pytest.raises(ValueError, match=words):
        OutputSpec.model_validate({"name": "it", **output})


def test_a_task_leads_out_of_no_folder(tmp_path: Path):
    names = ["main", "../../lane", "/lane"]
    outputs = [{"name": name, "task": "binary"} for name in names]
    with pytest.raises(ValueError, match="name of its own"):
        manifest(outputs=[*outputs, {"name": "..lane", "task": "binary"}])
    with pytest.raises(ValueError, match="name of its own"):
        manifest(outputs=outputs)  # both would be _lane
    inside = tmp_path / "a" / "b"
    result = SimpleNamespace(
        frame=SimpleNamespace(sequence=1),
        class_map_hw_u8=np.zeros((2, 3), np.uint8),
        further={"../../lane": np.ones((2, 3), np.uint8)},
    )
    files = ClassMapFiles(inside)
    files.write(result)
    files.close()
    assert (inside / "_lane" / "00000001.png").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_scores_become_maps():
    scores = [np.full((1, 1, 1, 2), value, np.float32) for value in (0.1, 0.1, 0.0)]
    maps = task_maps(scores, manifest())
    assert maps["drivable"].tolist() == [[1, 1]]
    assert maps["lane"].tolist() == [[0, 0]]  # a sigmoid of 0.52 is below 0.6
    assert np.allclose(maps["depth"], 10.0)  # halfway between 2 and 50 by logarithm
    plain = OutputSpec(name="d", task="depth", activation="none", depth={"low": 2, "high": 50})
    one = manifest(outputs=[plain.model_dump()])
    assert depth_map(np.array([[[1.0, 7.0]]], np.float32), one).tolist() == [[2.0, 7.0]]
    with pytest.raises(ManifestError, match="one channel"):
        depth_map(np.zeros((1, 3, 1, 2), np.float32), one)


def test_a_mask_tints_what_it_covers_and_nothing_else():
    picture = np.full((4, 6, 3), 100, np.uint8)
    mask = np.zeros((2, 3), np.uint8)
    mask[1, 2], mask[0, 0] = 1, 255
    draw_tasks(picture, {"lane": mask}, manifest(), 0.5)
    assert picture[2:, 4:].reshape(-1, 3).tolist() == [[95, 130, 95]] * 4  # three quarters of 100, a quarter of green
    picture[2:, 4:] = 100
    assert (picture == 100).all()


def test_depth_is_scored_within_its_range_alone():
    meter = make_meter(OutputSpec(name="d", task="depth", depth={"low": 2, "high": 50}))
    meter.update(np.array([[10.0, 20.0, 90.0, np.nan]]), np.array([[12.0, 16.0, 1.0, 1.0]], np.float32))
    figures = meter.figures()
    assert figures["rmse"] == pytest.approx(np.sqrt((4 + 16) / 2))
    assert figures["abs_rel"] == pytest.approx(0.2)
    assert figures["delta1"] == pytest.approx(50.0)  # 20/16 is not below 1.25


def test_budgets_are_shares_or_points_and_name_what_there_is():
    outputs = manifest().outputs
    budgets = budgets_of(outputs, {"depth_rmse": "2%", "lane_iou": "0.25"}, 0.5)
    assert budgets["depth", "rmse"] == (0.02, True)
    assert (budgets["lane", "iou"], budgets["drivable", "iou"]) == ((0.25, False), (0.5, False))
    before = {"depth": {"rmse": 4.0}, "lane": {"iou": 50.0}}
    assert not task_violations(budgets, before, {"depth": {"rmse": 4.07}, "lane": {"iou": 49.8}})
    broken = task_violations(budgets, before, {"depth": {"rmse": 4.2}, "lane": {"iou": 49.0}})
    assert [sentence.split()[0] for sentence in broken] == ["iou", "rmse"]  # by how many times the budget
    with pytest.raises(jetseg.JetsegError, match="depth_rmse"):
        budgets_of(outputs, {"depth_miou": "1"}, 0.5)
    with pytest.raises(jetseg.JetsegError, match="no amount"):
        budgets_of(outputs, {"depth_rmse": "much"}, 0.5)


def test_networks_agree_as_much_as_in_the_worst_task():
    ids, depth = np.zeros((1, 4), np.uint8), np.array([[10, 10, 10, 10]], np.float32)
    assert same_share([ids, depth], [ids, depth * np.float32([1.01, 0.99, 1.2, 1.0])]) == 0.75


def test_a_foreign_network_of_several_outputs_becomes_an_engine_and_runs(tmp_path: Path):
    frames = tmp_path / "frames" / "images"
    frames.mkdir(parents=True)
    rng = np.random.default_rng(1)
    for number in range(6):
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(frames / f"{number}.png"), cv2.resize(coarse, (WIDTH, HEIGHT)))
    (tmp_path / "frames" / "classes.yaml").write_text("classes: [other, drivable]\n")
    data, settings = f"folder:{tmp_path / 'frames'}", {"split": "all", "eval_split": "all"}
    network = jetseg.open_network(three_outputs(tmp_path / "foreign.onnx"))
    ranges = jetseg.calibrate(network, data=data, split="all", out=tmp_path / "foreign.ranges.json", images=6)
    built = jetseg.build_engine(
        network, ranges=ranges, data=data, out=tmp_path / "int8.onnx", force=True, min_agreement=90, **settings
    )
    assert set(built.agreement.kept) == {"drivable", "lane", "depth"}
    assert built.agreement.percent == min(built.agreement.kept.values()) >= 90
    assert len(built.manifest.proof.further) == 2
    with pytest.raises(jetseg.JetsegError, match="rejected"):
        jetseg.build_engine(
            network, ranges=ranges, data=data, out=tmp_path / "bad.onnx", force=True, min_agreement=100, **settings
        )

    class Spy:
        wants_overlay = True

        def write(self, result) -> None:
            self.result = result
            self.ring = RingReader(f"{tmp_path.name}.depth").newest().class_map_hw_u8.view("<u2") / 256

    spy, maps = Spy(), tmp_path / "maps"
    sinks = [f"ring:{tmp_path.name}", f"class_map_files:{maps}", spy]
    jetseg.run_camera(built.path, source=str(frames), sinks=sinks, threads=1)
    with jetseg.open_engine(built.path, threads=1) as engine:
        wanted = engine.maps(spy.result.frame.image_hwc_u8)
    assert list(wanted) == ["drivable", "lane", "depth"]
    assert np.array_equal(spy.result.class_map_hw_u8, wanted["drivable"])
    assert np.array_equal(spy.result.further["lane"], wanted["lane"])
    assert np.abs(spy.ring - wanted["depth"]).max() < 1 / 256
    assert spy.result.overlay_hwc_u8.shape == (HEIGHT, WIDTH, 3)
    assert spy.result.statistics.tasks["depth"]["p50"] == pytest.approx(np.median(wanted["depth"][::4, ::4]), abs=1e-3)
    name = f"{spy.result.frame.sequence:08d}.png"
    assert np.array_equal(cv2.imread(str(maps / "lane" / name), cv2.IMREAD_UNCHANGED), wanted["lane"])
    kept = cv2.imread(str(maps / "depth" / name), cv2.IMREAD_UNCHANGED)
    assert kept.dtype == np.uint16
    assert np.abs(kept / 256 - wanted["depth"]).max() < 1 / 256


def test_tasks_are_scored_where_there_are_labels():
    split = jetseg.open_dataset("synthetic:2").split("val")
    seen = {}

    def predict(frame):
        sample = seen["all"][len(seen) - 1]
        seen[len(seen)] = None
        return {
            "drivable": sample.targets["drivable"],
            "lane": sample.targets["lane"] * 0,
            "depth": sample.targets["depth"],
        }

    told = manifest(
        outputs=[{"name": name, **split.targets[name].model_dump(exclude={"name"})} for name in split.targets]
    )
    seen["all"] = split.with_targets(["drivable", "lane", "depth"])
    figures = measure_tasks(predict, told, split)
    assert figures["drivable"]["iou"] == 100.0
    assert figures["lane"]["iou"] == 0.0
    assert figures["depth"]["rmse"] == pytest.approx(0.0)


def test_a_mask_alone_is_compared_with_a_reference(tmp_path: Path):
    path = tmp_path / "mask.onnx"
    shape = [1, 1, HEIGHT, WIDTH]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])
    end = helper.make_tensor_value_info("drivable", TensorProto.FLOAT, shape)
    weight = numpy_helper.from_array(np.array([[[[1.0]], [[-2.0]], [[1.0]]]], np.float32), "w")
    node = helper.make_node("Conv", ["image", "w"], ["drivable"])
    graph = helper.make_graph([node], "mask", [image], [end], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    mask = {"name": "drivable", "task": "binary", "classes": ["not drivable", "drivable"]}
    (tmp_path / "mask.onnx.json").write_text(json.dumps({"input": manifest().input.model_dump(), "outputs": [mask]}))
    alone = jetseg.evaluate(path, data="synthetic:2", split="val", threads=1)
    found = jetseg.evaluate(path, data="synthetic:2", split="val", threads=1, reference=path)
    assert (alone.agreement, found.agreement.percent, found.agreement.frames) == (None, 100.0, 2)
    assert found.accuracy == alone.accuracy
    assert found.accuracy.tasks["drivable"]["iou"] is not None


def test_several_tasks_are_compared_with_a_reference_one_by_one(tmp_path: Path):
    first, data = three_outputs(tmp_path / "first.onnx"), write_dataset(tmp_path / "data", frames=2)
    model = onnx.load(first)
    for tensor in model.graph.initializer:
        if tensor.name == "w_lane":
            tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), "w_lane"))
    second = tmp_path / "second.onnx"
    onnx.save(model, second)
    shutil.copy(f"{first}.json", f"{second}.json")

    def compared(path, reference):
        return jetseg.evaluate(path, data=data, split="all", threads=1, reference=reference).agreement

    same, other = compared(first, first), compared(second, first)
    assert (same.percent, same.kept) == (100.0, {"drivable": 100.0, "lane": 100.0, "depth": 100.0})
    assert (other.kept["drivable"], other.kept["depth"]) == (100.0, 100.0)
    assert other.percent == other.kept["lane"] < 60


def test_a_folder_has_several_labels_and_may_lack_some(tmp_path: Path):
    for folder in ("images", "labels", "lanes", "far"):
        (tmp_path / folder).mkdir()
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), np.full((4, 6, 3), 9, np.uint8))
        cv2.imwrite(str(tmp_path / "labels" / f"{name}.png"), np.eye(4, 6, dtype=np.uint8))
    cv2.imwrite(str(tmp_path / "lanes" / "a.png"), 255 * np.eye(4, 6, dtype=np.uint8))
    cv2.imwrite(str(tmp_path / "far" / "b.png"), np.array([[0, 256, 512, 640, 1, 2]] * 4, np.uint16))
    (tmp_path / "classes.yaml").write_text(
        "classes: [road, car]\n"
        "targets:\n"
        "  lane: {folder: lanes, label_values: {0: 0, 255: 1}}\n"
        "  depth: {folder: far, task: depth, depth: {low: 1, high: 80}}\n"
    )
    split = jetseg.open_dataset(f"folder:{tmp_path}").split("all")
    assert {name: output.task for name, output in split.targets.items()} == {"lane": "binary", "depth": "depth"}
    assert split[0].targets == {}
    first, second = (split.with_targets(["lane", "depth"])[index].targets for index in range(2))
    assert list(first) == ["lane"]
    assert np.array_equal(first["lane"], np.eye(4, 6))
    assert list(second) == ["depth"]
    assert np.isnan(second["depth"][0, 0])
    assert second["depth"][0, 1:4].tolist() == [1.0, 2.0, 2.5]
    joined, outputs = select_targets(JoinedSplits([split, split]), ["segmentation", "lane"])
    assert (len(joined), list(joined[2].targets), outputs[1]) == (4, ["lane"], split.targets["lane"])
    (tmp_path / "classes.yaml").write_text("classes: [road, car]\n")
    plain = jetseg.open_dataset(f"folder:{tmp_path}").split("all")
    assert len(select_targets(JoinedSplits([plain, plain]), ["segmentation"])[0]) == 4
    (tmp_path / "classes.yaml").write_text("classes: [road, car]\ntargets: {lane: {folder: ../lanes}}\n")
    with pytest.raises(jetseg.JetsegError, match="folder"):
        jetseg.open_dataset(f"folder:{tmp_path}").split("all")
