"""The ladder of artifacts against figures that are computed here in another way."""

from dataclasses import dataclass

import numpy as np
import pytest

from jetseg.config import changed
from jetseg.data.contract import Sample
from jetseg.errors import DataError, ManifestError, QualityError
from jetseg.evaluation.config import Bounds
from jetseg.evaluation.parity import VOID, LadderParity, Rung, measure_parity
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest
from jetseg.palette import default_palette

CLASSES = ("road", "car", "sky")
HEIGHT, WIDTH, FRAMES = 8, 10, 4
LOGITS = Manifest(classes=CLASSES, ignore_index=255, input=InputSpec(height=HEIGHT, width=WIDTH))
CLASS_MAP = LOGITS.with_output(kind="classmap")
LOOSE = Bounds(min_agreement=0.0, max_drop=100.0)
STRICT = Bounds(min_agreement=99.0, max_drop=0.5)


@dataclass
class Frames:
    """Frame i is filled with the value i, so that a stub network can tell the frames apart."""

    labels: list[np.ndarray] | None = None
    count: int = FRAMES
    classes: tuple[str, ...] = CLASSES
    spec: str = "memory:"
    split: str = "val"
    ignore_index: int | None = 255
    reads: int = 0

    @property
    def palette(self):
        return default_palette(self.classes)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.reads += 1
        image = np.full((HEIGHT, WIDTH, 3), index, dtype=np.uint8)
        return Sample(f"frame{index}", image, None if self.labels is None else self.labels[index])


def rung(name: str, outputs: list[np.ndarray], manifest: Manifest = LOGITS) -> Rung:
    """A network that gives `outputs[i]` for frame i, always in the same buffer, as an engine may."""
    buffer = np.empty_like(outputs[0])

    def infer(network_input):
        buffer[:] = outputs[round(float(network_input.flat[0]))]
        return buffer

    return Rung(name, manifest, infer)


def random_logits(seed: int, frames: int = FRAMES) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 3, (1, 3, HEIGHT, WIDTH)).astype(np.float32) for _ in range(frames)]


def maps(logits: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(logits).argmax(axis=1)


def class_maps(*rows: list[int]) -> list[np.ndarray]:
    """One frame per row; its pixels repeat the row."""
    return [np.resize(np.array(row, dtype=np.uint8), (1, HEIGHT, WIDTH)) for row in rows]


def brute_miou(labels: np.ndarray, predictions: np.ndarray) -> float:
    scored = labels != 255
    ious = []
    for index in range(len(CLASSES)):
        label, prediction = (labels == index) & scored, (predictions == index) & scored
        if (label | prediction).any():
            ious.append((label & prediction).sum() / (label | prediction).sum())
    return 100 * float(np.mean(ious))


def measure(*rungs: Rung, bounds: Bounds = LOOSE, labels: list[np.ndarray] | None = None) -> LadderParity:
    return measure_parity(rungs, Frames(labels), bounds)


def test_each_rung_is_compared_with_the_one_before_and_with_the_first():
    ladder = [random_logits(1)]
    for seed in (2, 3, 4):
        ladder.append([a + 0.5 * b for a, b in zip(ladder[-1], random_logits(seed), strict=True)])
    result = measure(*(rung(str(index), outputs) for index, outputs in enumerate(ladder)))
    for before, now, parity in zip(ladder[:-1], ladder[1:], result.rungs[1:], strict=True):
        signal, error = np.stack(before).astype(np.float64), np.stack(now).astype(np.float64) - np.stack(before)
        assert parity.max_abs_error == pytest.approx(np.abs(error).max())
        assert parity.sqnr_db == pytest.approx(20 * np.log10(np.linalg.norm(signal) / np.linalg.norm(error)))
        same = maps(before) == maps(now)
        assert parity.agreement == pytest.approx(100 * same.mean())
        assert parity.agreement_first == pytest.approx(100 * (maps(ladder[0]) == maps(now)).mean())
        per_frame = 100 * same.mean(axis=(1, 2))
        assert parity.worst_agreement == pytest.approx(per_frame.min())
        assert parity.worst_frame == f"frame{per_frame.argmin()}"
        for index, name in enumerate(CLASSES):
            assert parity.per_class_agreement[name] == pytest.approx(100 * same[maps(before) == index].mean())
    assert (result.rungs[0].agreement, result.rungs[0].sqnr_db) == (None, None)
    assert (result.frames, result.labelled_frames) == (FRAMES, 0)


def test_equal_rungs_differ_by_nothing():
    same = measure(rung("a", random_logits(1)), rung("b", random_logits(1)), bounds=STRICT).rungs[1]
    assert (same.max_abs_error, same.sqnr_db, same.agreement, same.worst_agreement) == (0, np.inf, 100, 100)


def test_a_class_map_has_no_logit_error_on_either_side():
    logits = random_logits(1)
    flat = [ids[None].astype(np.uint8) for ids in maps(logits)]
    result = measure(rung("a", logits), rung("b", flat, CLASS_MAP), rung("c", logits), rung("d", logits))
    assert [r.max_abs_error for r in result.rungs] == [None, None, None, 0]
    assert [r.sqnr_db for r in result.rungs] == [None, None, None, np.inf]
    assert [r.agreement for r in result.rungs] == [None, 100, 100, 100]


def test_outputs_of_another_size_are_compared_at_the_input_size():
    small = [np.ascontiguousarray(frame[:, :, :4, :5]) for frame in random_logits(1)]
    large = [frame.repeat(2, axis=2).repeat(2, axis=3) for frame in small]
    parity = measure(rung("a", small), rung("b", large)).rungs[1]
    assert (parity.agreement, parity.max_abs_error) == (100, None)


def test_miou_and_its_change_are_those_of_a_brute_force_count():
    one, two = random_logits(1), random_logits(2)
    labels = list(maps(one).astype(np.uint8))
    for index, label in enumerate(labels):
        label[index, :] = 255
        label[-1, :] = 1
    result = measure(rung("a", one), rung("b", two), labels=labels)
    expected = [brute_miou(np.stack(labels), maps(logits)) for logits in (one, two)]
    assert [r.miou for r in result.rungs] == pytest.approx(expected)
    assert result.rungs[1].miou_change == pytest.approx(expected[1] - expected[0])
    assert result.rungs[0].miou_change is None
    assert result.labelled_frames == FRAMES


def test_frames_without_labels_are_compared_but_not_scored():
    one = random_logits(1)
    labels = [*maps(one).astype(np.uint8)[:2], None, None]
    result = measure(
        rung("a", one), rung("b", random_logits(2)), labels=labels, bounds=Bounds(min_agreement=0.0, max_drop=0.5)
    )
    assert (result.frames, result.labelled_frames, result.rungs[0].miou) == (4, 2, 100)
    assert [breach.bound for breach in result.breaches] == ["max_drop"]
    bare = measure(rung("a", one), rung("b", random_logits(2)), bounds=Bounds(min_agreement=0.0, max_drop=0.5))
    assert (bare.first_failing, bare.rungs[1].miou, bare.rungs[1].per_class_iou) == (None, None, None)


def test_the_first_rung_that_breaks_is_found_with_the_class_that_lost_most_agreement():
    good = class_maps(*[[0] * 10 + [1] * 5 + [2] * 5] * FRAMES)
    bad = class_maps(*[[0] * 9 + [2] + [1] * 4 + [2] + [2] * 5] * FRAMES)  # a tenth of road, a fifth of car
    rungs = [rung(name, ids, CLASS_MAP) for name, ids in (("a", good), ("b", good), ("c", bad), ("d", good))]
    result = measure(*rungs, bounds=STRICT)
    (breach,) = result.breaches
    assert (result.first_failing, breach.bound, breach.value, breach.worst_class) == (2, "min_agreement", 90, "car")
    assert result.rungs[2].per_class_agreement == {"road": 90, "car": 80, "sky": 100, VOID: None}
    assert (
        measure(*rungs, bounds=Bounds(min_agreement=90.0, max_drop=0.5)).first_failing is None
    )  # a bound is kept when it is just reached


def test_a_drop_names_the_class_that_lost_most_iou():
    good = class_maps(*[[0] * 10 + [1] * 5 + [2] * 5] * FRAMES)
    bad = class_maps(*[[0] * 10 + [1] * 5 + [2] * 4 + [1]] * FRAMES)
    labels = [ids[0] for ids in good]
    rungs = rung("a", good, CLASS_MAP), rung("b", bad, CLASS_MAP)
    result = measure(*rungs, labels=labels, bounds=Bounds(min_agreement=90.0, max_drop=0.5))
    (breach,) = result.breaches
    assert (result.first_failing, breach.bound, breach.limit, breach.worst_class) == (1, "max_drop", 0.5, "sky")
    assert breach.value == pytest.approx(100 - 100 * (1 + 5 / 6 + 4 / 5) / 3)
    assert [b.bound for b in measure(*rungs, labels=labels, bounds=STRICT).breaches] == ["min_agreement", "max_drop"]


def test_a_class_that_appears_from_nowhere_is_the_one_that_pulled_miou_down():
    good = class_maps(*[[0] * 10 + [2] * 10] * FRAMES)
    bad = class_maps(*[[0] * 10 + [2] * 9 + [1]] * FRAMES)
    labels = [ids[0] for ids in good]
    result = measure(
        rung("a", good, CLASS_MAP),
        rung("b", bad, CLASS_MAP),
        labels=labels,
        bounds=Bounds(min_agreement=0.0, max_drop=0.5),
    )
    assert result.breaches[0].worst_class == "car"
    assert result.rungs[0].per_class_iou["car"] is None


def test_void_is_a_class_of_its_own_when_maps_are_compared():
    void, turned = class_maps(*[[3, 3, 3, 0]] * FRAMES), class_maps(*[[1, 3, 7, 0]] * FRAMES)
    result = measure(rung("a", void, CLASS_MAP), rung("b", turned, CLASS_MAP), bounds=STRICT)
    assert result.rungs[1].agreement == 75  # 3 and 7 both mean void
    assert result.breaches[0].worst_class == VOID


def test_every_frame_is_decoded_once_and_frames_are_spread_evenly():
    dataset = Frames(count=10)
    outputs = random_logits(1, frames=10)
    changed = list(outputs)
    changed[5] = -changed[5]
    result = measure_parity([rung("a", outputs), rung("b", changed)], dataset, LOOSE, frames=4)
    assert (dataset.reads, result.frames, result.rungs[1].worst_frame) == (4, 4, "frame5")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"height": 16}, "Input size: 10x16 instead of 10x8"),
        ({"color": "bgr"}, "Color: bgr instead of rgb"),
        ({"color": "gray", "mean": (0.0,), "std": (1.0,)}, "Color: gray instead of rgb"),
        ({"mean": (0.0, 0.1, 0.0)}, r"Normalization: scale 1.0, mean \[0.0, 0.1, 0.0\]"),
        ({"scale": 1 / 255}, "Normalization"),
    ],
)
def test_another_preprocessing_is_refused_with_what_differs(changes, words):
    spec = InputSpec.model_validate(LOGITS.input.model_dump() | changes)
    other = rung("other", random_logits(1), LOGITS.changed(input=spec))
    with pytest.raises(ManifestError, match=rf"other is not the same network as a\. {words}"):
        measure(rung("a", random_logits(1)), rung("b", random_logits(1)), other)


def test_other_classes_are_refused():
    other = LOGITS.changed(outputs=(changed(LOGITS.output, classes=("road", "sky", "car")),))
    with pytest.raises(ManifestError, match="Classes: road, sky, car instead of road, car, sky"):
        measure(rung("a", random_logits(1)), rung("b", random_logits(1), other))
    with pytest.raises(DataError, match="classes"):
        dataset = Frames([np.zeros((HEIGHT, WIDTH), dtype=np.uint8)] * FRAMES, classes=("road", "tree"))
        measure_parity([rung("a", random_logits(1)), rung("b", random_logits(1))], dataset, LOOSE)


def test_the_same_normalization_in_other_words_and_in_the_graph_is_the_same():
    size = {"height": HEIGHT, "width": WIDTH}
    one = InputSpec(**size, scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    std = tuple(255 * value for value in one.std)
    two = InputSpec(**size, kind="frame", mean=tuple(255 * value for value in one.mean), std=std)
    ids = np.zeros((1, HEIGHT, WIDTH), dtype=np.uint8)
    seen = {}

    def stub(name, spec):
        def infer(network_input):
            seen[name] = network_input
            return ids

        return Rung(name, CLASS_MAP.changed(input=spec), infer)

    assert measure(stub("a", one), stub("b", two)).rungs[1].agreement == 100
    assert (seen["a"].shape, seen["b"].shape) == ((1, 3, HEIGHT, WIDTH), (1, HEIGHT, WIDTH, 3))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_never_in_agreement(value):
    broken = random_logits(1)
    broken[2][0, 1, 3, 3] = value
    with pytest.raises(QualityError, match="b gives logits that are not finite numbers in frame frame2"):
        measure(rung("a", random_logits(1)), rung("b", broken))
