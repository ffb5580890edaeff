"""One sigmoid channel, as networks of medicine have it, from training to class maps on frames."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from jetseg.data.dataset import open_dataset
from jetseg.engine.engine import open_engine
from jetseg.errors import ConfigError
from jetseg.evaluation.profile import scores_of
from jetseg.evaluation.signals import doubt_and_entropy
from jetseg.network import open_network
from jetseg.postprocess import class_map
from jetseg.preprocess import Preprocessor
from jetseg.workflows.building import build_engine
from jetseg.workflows.calibration import calibrate
from jetseg.workflows.evaluating import evaluate

torch = pytest.importorskip("torch")

HEIGHT, WIDTH, THRESHOLD = 32, 48, 0.7
FACTORY = """
from torch import nn


def net(num_classes, in_channels):
    layers = [nn.Conv2d(in_channels, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(8, num_classes, 1))
"""


def write_blobs(folder: Path) -> str:
    """Bright disks on dark noise, with masks of 0 and 255."""
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for index in range(10):
        image = rng.integers(0, 80, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        center = int(rng.integers(10, WIDTH - 10)), int(rng.integers(10, HEIGHT - 10))
        cv2.circle(image, center, 8, (200, 210, 190), -1)
        cv2.circle(mask, center, 8, 255, -1)
        cv2.imwrite(str(folder / "images" / f"{index}.png"), image)
        cv2.imwrite(str(folder / "labels" / f"{index}.png"), mask)
    text = "classes: [tissue, blob]\nlabel_values: {0: 0, 255: 1}\nsplits: {val: ['7', '8', '9']}\n"
    (folder / "classes.yaml").write_text(text)
    return f"folder:{folder}"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a dataset and a checkpoint of a network of somebody else's, asked for one channel."""
    from jetseg.workflows.training import train

    folder = tmp_path_factory.mktemp("one_channel")
    data = write_blobs(folder / "data")
    (folder / "blob_factory.py").write_text(FACTORY)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        result = train(
            data=data,
            out=folder / "run",
            model="blob_factory:net",
            activation="sigmoid",
            threshold=THRESHOLD,
            epochs=6,
            batch_size=2,
            lr=0.02,
            ema_decay=0,
            class_weights="median",
            dice_weight=0.5,
            lovasz_weight=0.5,
        )
        yield folder, data, result


@pytest.mark.long
def test_training_learns_and_the_manifest_tells_how_it_decides(trained):
    _, data, result = trained
    assert result.miou > 90
    output = open_network(result.best).manifest.output
    assert (output.classes, output.activation, output.threshold) == (("tissue", "blob"), "sigmoid", THRESHOLD)
    found = evaluate(result.best, data=data, split="val")
    iou = found.accuracy.per_class_iou["blob"]
    assert found.accuracy.per_class_dice["blob"] == pytest.approx(200 * iou / (100 + iou))


@pytest.mark.long
@pytest.mark.parametrize("head", ["classmap", pytest.param("logits", marks=pytest.mark.slow)])
def test_class_maps_are_the_sigmoid_above_the_threshold_all_the_way(trained, tmp_path, head):
    from jetseg.training.checkpoint import load_checkpoint
    from jetseg.workflows.exporting import export

    _, data, result = trained
    module, _ = load_checkpoint(result.best)
    network = export(result.best, out=tmp_path / "net.onnx", head=head).network
    ranges = calibrate(network, data=data, out=tmp_path / "r.json", preset="fast")
    budget = {"max_drop": 3, "max_class_drop": 5}
    built = build_engine(network, ranges=ranges, data=data, out=tmp_path / "e.onnx", **budget)
    assert built.agreement.percent > 97
    assert len(built.report.integer_layers) == 2
    simulated = evaluate(network, data=data, simulate="tensorrt", ranges=ranges)
    assert simulated.agreement.percent > 97
    split = open_dataset(data).split("val")
    with open_engine(network) as exported, open_engine(built.path) as engine:
        for index in range(len(split)):
            frame = split[index].image_hwc_u8
            with torch.no_grad():
                logits = module(torch.from_numpy(Preprocessor(network.manifest.input)(frame)))
            assert logits.shape == (1, 1, HEIGHT, WIDTH)
            probability = torch.sigmoid(logits.double())[0, 0].numpy()
            expected = (probability > THRESHOLD).astype(np.uint8)
            assert 0 < expected.sum() < expected.size
            unsure = np.abs(probability - THRESHOLD) < 1e-5
            assert np.all((exported.segment(frame) == expected) | unsure)
            assert np.mean(engine.segment(frame) == expected) > 0.95


@pytest.mark.slow
def test_a_student_learns_from_one_channel_and_with_one(trained, tmp_path):
    from jetseg.workflows.training import train

    _, data, result = trained
    settings = {"data": data, "epochs": 8, "batch_size": 2, "lr": 0.01, "ema_decay": 0, "seed": 1}
    for activation in ("sigmoid", "softmax"):
        out = tmp_path / activation
        student = train(out=out, model="blob_factory:net", activation=activation, teacher=result.best, **settings)
        assert student.miou > 60
        assert open_network(student.best).manifest.output.activation == activation


def test_confidence_is_that_of_two_classes(trained):
    manifest = open_network(trained[2].best).manifest
    logits = np.full((1, 1, 64, 96), np.log(3.0), np.float32)  # a probability of 3/4
    scores = scores_of(logits, manifest)
    doubt, entropy = doubt_and_entropy(scores)
    assert doubt == pytest.approx(0.25, abs=1e-6)
    assert entropy == pytest.approx(-(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)), abs=1e-6)
    assert class_map(logits[:, :, ::2, ::2], manifest).min() == 1


def test_one_channel_is_for_two_classes(tmp_path):
    from jetseg.workflows.training import train

    with pytest.raises(ConfigError, match="activation sigmoid decides between two classes"):
        train(data="synthetic:4", out=tmp_path, model="tiny", activation="sigmoid")


@pytest.mark.slow
def test_membranes_under_the_microscope(shared_dir, tmp_path):
    from jetseg.workflows.exporting import export
    from jetseg.workflows.training import train

    listed = tmp_path / "membrane.yaml"
    listed.write_text(
        f"root: {shared_dir / 'data' / 'isbi_membrane'}\nclasses: [cell, membrane]\nlabel_values: {{0: 1, 255: 0}}\n"
        "splits: {val: ['3', '7', '11', '15']}\n"
    )
    data = f"folder:{listed}"
    settings = {"crop_height": 128, "crop_width": 128, "color": "gray", "lr": 0.005, "ema_decay": 0}
    result = train(
        data=data,
        out=tmp_path / "run",
        model="unet",
        model_options={"width": 8},
        activation="sigmoid",
        epochs=6,
        batch_size=2,
        dice_weight=1.0,
        height=256,
        width=256,
        **settings,
    )
    network = export(result.best, out=tmp_path / "net.onnx", head="classmap").network
    ranges = calibrate(network, data=data, images=8, out=tmp_path / "r.json", preset="fast")
    built = build_engine(network, ranges=ranges, data=data, out=tmp_path / "e.onnx", max_drop=3, max_class_drop=5)
    assert built.agreement.percent > 97
    assert built.accuracy.per_class_dice["membrane"] > 55
