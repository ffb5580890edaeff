"""One network for several tasks: targets of the drive, training, balance of losses, pruning, export and gate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import jetseg
from jetseg.compress.importance import Subject, Taylor
from jetseg.config import changed
from jetseg.data.dataset import open_split, select_targets
from jetseg.data.synthetic.classes import Class
from jetseg.errors import DataError, GateError
from jetseg.models import create_model, outputs_apart
from jetseg.output_spec import OutputSpec
from jetseg.training.config import TrainConfig
from jetseg.training.initialization import resolve, start_tasks
from jetseg.training.task_balance import GradNorm, UncertaintyBalance, last_shared_weight
from jetseg.training.task_frames import open_task_splits
from jetseg.training.task_losses import TaskLosses

TASKS = ("segmentation", "drivable", "depth")
SETTINGS = {
    "data": "synthetic:8",
    "model": "multi-task",
    "model_options": {"width": 8},
    "epochs": 1,
    "height": 48,
    "width": 80,
    "batch_size": 4,
    "lr": 0.003,
}
OUTPUTS = (
    OutputSpec(name="segmentation", classes=("a", "b")),
    OutputSpec(name="depth", task="depth", depth={"low": 1, "high": 100}),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tasks")
    return jetseg.train(out=out / "run", tasks=TASKS, task_weighting="uncertainty", **SETTINGS).best


def test_the_drive_tells_masks_and_depth_without_changing_its_pictures():
    plain = open_split("synthetic:4", "train")
    split, outputs = select_targets(plain, ["segmentation", "drivable", "lane", "depth"])
    before, sample = plain[2], split[2]
    assert np.array_equal(before.image_hwc_u8, sample.image_hwc_u8)
    assert np.array_equal(before.label_hw_u8, sample.label_hw_u8)
    assert before.targets == {}
    assert [output.task for output in outputs] == ["segmentation", "binary", "binary", "depth"]
    label, depth = sample.label_hw_u8, sample.targets["depth"]
    assert np.array_equal(sample.targets["lane"] == 1, label == Class.LANE_MARKING)
    assert np.isnan(depth[label == Class.SKY]).all()
    assert np.isfinite(depth[label == Class.CAR]).all()
    road = np.where(label == Class.ROAD, depth, np.nan)
    rows = np.nanmedian(road[130:], axis=1)
    assert (np.diff(rows[np.isfinite(rows)]) < 0.05).all()  # the road comes nearer from row to row
    with pytest.raises(DataError, match="lane"):
        select_targets(plain, ["height"])


def test_depth_is_where_the_camera_would_see_a_plane():
    from jetseg.data.synthetic.camera import Camera

    camera = Camera(focal_px=200.0, position=(0.0, 1.5, 0.0), yaw=0.0, pitch=0.0, roll=0.0)
    wall = np.array([[2.0, 0, 5], [2, 3, 5], [2, 3, 20], [2, 0, 20]])  # along the road, on the right
    viewed = camera.view(wall)
    depth = camera.depth_on(viewed, (200, 80, 204, 81))
    column = np.arange(200, 204)
    assert np.allclose(depth[0], np.clip(2.0 * 200 / (column - 160), 5, 20), rtol=1e-5)


def test_frames_without_a_label_train_the_tasks_that_they_have():
    losses = TaskLosses(OUTPUTS)
    joined = torch.zeros(1, 3, 2, 2, requires_grad=True)
    planes = torch.full((1, 2, 2, 2), torch.nan)
    assert losses(joined, planes) == [None, None]
    planes[..., 1] = 10.0
    one, two = losses(joined, planes)
    assert one is None
    assert two.item() == pytest.approx(0.0, abs=1e-6)  # a sigmoid of 0 is 10 of 1 to 100


def test_uncertainty_divides_a_loss_by_its_variance():
    balance = UncertaintyBalance([1.0, 2.0])
    with torch.no_grad():
        balance.log_variances.copy_(torch.tensor([0.0, 1.0]))
    total = balance([torch.tensor(3.0), torch.tensor(5.0)])
    assert total.item() == pytest.approx(3.0 + 2.0 * (5.0 * np.exp(-1.0) + 0.5))


def test_gradnorm_brings_gradients_to_one_size():
    torch.manual_seed(0)
    shared, heads = nn.Linear(4, 4), nn.ModuleList([nn.Linear(4, 1), nn.Linear(4, 1)])
    balance = GradNorm([1.0, 1.0], lambda: shared.weight)
    images = torch.randn(64, 4)

    def losses() -> list[torch.Tensor]:
        features = shared(images)
        return [factor * (head(features) - 1).square().mean() for factor, head in zip((1.0, 50.0), heads, strict=True)]

    assert last_shared_weight(nn.ModuleDict({"shared": shared, "heads": heads}), losses()) == "shared.weight"
    for _ in range(60):
        balance(losses())
    weights = balance.weights()
    assert sum(weights) == pytest.approx(2.0, abs=1e-4)
    assert weights[0] > 10 * weights[1]


def test_importance_counts_every_task_the_same():
    """A task whose loss is a thousand times as large decides alone without normalization, and not with it."""
    torch.manual_seed(0)

    class Scaled(TaskLosses):
        def forward(self, joined, planes):
            one, two = super().forward(joined, planes)
            return [one * 1000.0, two]

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Conv2d(3, 8, 3, padding=1)
            self.head = nn.Conv2d(8, 3, 1)

        def forward(self, x):
            return self.head(torch.relu(self.shared(x)))

    module, images = Two().eval(), torch.randn(4, 3, 8, 8)
    planes = torch.stack([torch.randint(0, 2, (4, 8, 8)).float(), torch.rand(4, 8, 8) * 50 + 2], dim=-1)

    def scores(scaled: bool, *, normalized: bool) -> torch.Tensor:
        class Told(Subject):
            @property
            def losses(self):
                return (Scaled if scaled else TaskLosses)(OUTPUTS)

        subject = Told(module, [(images, planes)], outputs=OUTPUTS, normalized=normalized)
        from jetseg.compress.channels.tracing import trace_channels
        from jetseg.compress.groups import find_groups

        groups, _ = find_groups(module, trace_channels(module, images[:1]), ())
        found = Taylor().channel_importance(subject)(groups[0])
        return found / found.sum()

    assert torch.allclose(scores(False, normalized=True), scores(True, normalized=True), atol=1e-5)
    assert not torch.allclose(scores(False, normalized=False), scores(True, normalized=False), atol=1e-2)


def test_a_factory_may_return_a_dictionary_or_its_scores_apart():
    module = create_model("multi-task", 3, heads={"one": 3, "two": 1}, width=8).eval()
    assert {name: tuple(values.shape) for name, values in module(torch.zeros(1, 3, 32, 48)).items()} == {
        "one": (1, 3, 32, 48),
        "two": (1, 1, 32, 48),
    }


@pytest.mark.long
def test_tasks_are_trained_pruned_exported_and_gated(trained: Path, tmp_path: Path):
    network = jetseg.open_network(trained)
    assert [output.name for output in network.manifest.outputs] == list(TASKS)
    assert set(network.manifest.accuracy[0].tasks) == set(TASKS)
    columns = (trained.parent / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"depth_rmse", "drivable_iou", "segmentation_weight"} <= set(columns)
    pruned = jetseg.prune(
        network,
        out=tmp_path / "pruned.safetensors",
        data="synthetic:8",
        ratio=0.3,
        criterion="taylor",
        batches=1,
        max_drop={"depth_rmse": "900%"},
    )
    assert pruned.after.macs < pruned.before.macs
    assert set(pruned.tasks) == set(TASKS)
    exported = jetseg.export(pruned.checkpoint, out=tmp_path / "net.onnx")
    assert exported.manifest.parity.argmax_agreement > 0.999
    with jetseg.open_engine(exported.path, threads=1) as engine, jetseg.open_engine(pruned.checkpoint) as torch_side:
        frame = open_split("synthetic:8", "val")[0].image_hwc_u8
        maps, wanted = engine.maps(frame), torch_side.maps(frame)
    assert list(maps) == list(TASKS)
    assert np.allclose(maps["depth"], wanted["depth"], rtol=1e-3)
    built = jetseg.build_engine(
        exported.path, data="synthetic:8", precision="fp32", out=tmp_path / "fp32.onnx", estimate=False
    )
    assert built.accuracy.tasks["depth"]["rmse"] == pytest.approx(built.parent_accuracy.tasks["depth"]["rmse"])


@pytest.mark.long
def test_a_network_that_lost_too_much_in_one_task_is_set_aside(trained: Path, tmp_path: Path):
    network = jetseg.open_network(trained)
    with pytest.raises(GateError, match="depth"):
        jetseg.prune(
            network,
            out=tmp_path / "pruned.safetensors",
            data="synthetic:8",
            ratio=0.8,
            criterion="random",
            max_drop={"depth_rmse": "0.01%", "depth_delta1": "0.0", "depth_abs_rel": "0.01%"},
        )
    assert not (tmp_path / "pruned.safetensors").exists()
    assert (tmp_path / "pruned.rejected.safetensors").is_file()


@pytest.mark.long
def test_one_task_may_be_depth_and_many_have_a_teacher(trained: Path, tmp_path: Path):
    alone = jetseg.train(out=tmp_path / "depth", tasks=("depth",), **{**SETTINGS, "model": "tiny"})
    assert jetseg.open_network(alone.best).manifest.output.task == "depth"
    student = jetseg.train(
        out=tmp_path / "student",
        tasks=("depth", "drivable"),
        teacher=trained,
        task_teachers={"depth": alone.best},
        **SETTINGS,
    )
    assert jetseg.open_network(student.best).manifest.stages[-1].name == "distill"


@pytest.mark.long
def test_a_network_that_learns_on_takes_from_the_data_what_is_not_scored(trained: Path, tmp_path: Path):
    config = resolve(TrainConfig(data=SETTINGS["data"], init=trained, out=tmp_path / "run"))
    learn_from, _, outputs = open_task_splits(config)
    told = [changed(output, ignore_index=255 if output.classes else None) for output in outputs]
    _, manifest = start_tasks(config, learn_from, tuple(told))
    assert [output.ignore_index for output in manifest.outputs] == [255, 255, None]


@pytest.mark.long
def test_scores_are_taken_apart_for_an_export(trained: Path):
    from jetseg.training.checkpoint import load_checkpoint

    module, manifest = load_checkpoint(trained)
    image = torch.zeros(1, 3, 48, 80)
    joined = module(image)
    with outputs_apart(module):
        parts = module(image)
    assert torch.equal(torch.cat(parts, 1), joined)
    assert [part.shape[1] for part in parts] == [output.channels for output in manifest.outputs]
