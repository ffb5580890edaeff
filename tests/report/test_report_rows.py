import io
from dataclasses import replace

import pytest
from rich.console import Console

from jetseg.evaluation.benchmark import Latency
from jetseg.evaluation.confusion import Score
from jetseg.report.rows import make_rows
from jetseg.report.table import headline_table

FAST = Latency(10, 1.0, 2.0, 3.0, 900.0, 1.0, 1.0, 1.0)


def score(miou: float | None) -> Score:
    return Score(frames=2, miou=miou, pixel_accuracy=miou, per_class_iou={"road": miou})


def shown(rows, width: int = 80) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(headline_table(rows))
    return console.export_text()


def test_changes_are_against_the_first_and_the_parent(entries):
    stranger = replace(entries[0], name="stranger", path=entries[1].path)
    order = [stranger, entries[0], entries[1]]
    rows = make_rows(
        [replace(order[0], path=order[0].path), *order[1:]],
        scores={"stranger": score(80.0), "parent": score(70.0), "child": score(64.5)},
    )
    assert [row.miou_change for row in rows] == [None, -10.0, -15.5]
    assert [row.miou_change_parent for row in rows] == [None, None, -5.5]
    assert [row.parent for row in rows] == [None, None, "parent"]


def test_a_parent_that_is_not_reported_on_is_no_parent(entries):
    (row,) = make_rows(entries[1:], scores={"child": score(50.0)})
    assert (row.parent, row.miou_change_parent) == (None, None)


def test_an_undefined_miou_has_no_change(entries):
    rows = make_rows(entries, scores={"parent": score(None), "child": score(50.0)})
    assert (rows[0].miou, rows[1].miou_change) == (None, None)


def test_rows_say_what_the_manifest_says(entries):
    parent, child = make_rows(entries)
    assert (parent.stage, child.stage, child.precision, child.backend) == (
        "onnx",
        "prune",
        "fp32",
        "onnxruntime",
    )
    assert child.size_bytes == entries[1].path.stat().st_size
    assert (child.parameters, child.macs) == (1000, 2000)


def test_the_table_leaves_out_what_nobody_measured(entries):
    text = shown(make_rows(entries, latencies={"parent": FAST, "child": replace(FAST, speed_ratio=1.5)}))
    assert "p99 ms" in text
    assert "1.50x" in text
    assert "mIoU" not in text
    assert "memory" not in text


@pytest.mark.parametrize("count", [2, 4])
def test_the_table_fits_a_terminal_and_folds_long_names(entries, count):
    latencies, scores, many = {}, {}, []
    for index in range(count):
        many.append(replace(entries[index % 2], name=f"network-with-a-very-long-name-{index}"))
        latencies[many[-1].name] = replace(FAST, speed_ratio_min=0.5)
        scores[many[-1].name] = score(50.0)
    text = shown(make_rows(many, latencies=latencies, scores=scores))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text
