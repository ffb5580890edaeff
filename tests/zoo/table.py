"""The page in docs/measurements that `make zoo` writes."""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from statistics import median
from typing import Any

from jetseg.provenance import device_name, toolchain
from zoo import networks
from zoo.steps import FRAMES

Record = dict[str, Any]
Records = dict[str, Record]
_LIBRARIES = ("onnxruntime", "tensorrt-rtx", "timm", "segmentation-models-pytorch", "transformers")
_COLUMNS = (
    "network",
    "parameters, k",
    "left by `prune`, k (%)",
    "prune: s, GB",
    "ONNX agrees",
    "INT8 agrees",
    "layers on integers",
    "INT8 over float",
    "handed over",
    "its speed over float",
    "TensorRT's INT8 agrees",
    "RTX: layers on integers",
)
_TEXT = """# Zoo

Networks that nobody here wrote, or that are written here from their papers, with random weights that were trained for twelve
steps: they say whether a step works and what it changes, not how good a network is. `make zoo` repeats it, in an environment of
its own; the factories are in `tests/zoo/networks.py`. Each step is a process of its own: `import` of the library's own
state_dict, `train` of two steps, `prune --ratio 0.5` (bounds: two minutes, 4 GB), `export`, `parity`,
`calibrate --preset fast`, `build-engine`, `build-engine --backend tensorrt_rtx`, `eval --simulate tensorrt`, `bench`.

{conditions}

- *ONNX agrees*: pixels with the class that the library's own network gives them, computed without jetseg.
- *INT8 agrees*: pixels with the class that the float ONNX file gives them; ONNX Runtime, and TensorRT by exact simulation.
- *INT8 over float*: frames per second of the INT8 engine over those of the float file, ONNX Runtime, one thread, alternated.
- *Handed over*: what `build-engine` without `--force` makes of it. It times int8, mixtures and float in turn, and layers are in float
  where that is faster. Its speed over float is measured as that of INT8, in the same rounds.
- The RTX engine is built, not run: there is no GPU.

"""


def page(found: dict[str, Records], versions: dict[str, str]) -> str:
    """Returns the page: conditions, the table, and each sentence that a step ended with in place of a result."""
    reached = {name: records for name, records in found.items() if records}
    rows = [_COLUMNS, *(_row(name, records) for name, records in reached.items())]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|---" + "|---:" * (len(_COLUMNS) - 1) + "|")
    sentences = [
        f"- `{name}`, {step}: {record['outcome']}. {record['sentence']}".rstrip()
        for name, records in reached.items()
        for step, record in records.items()
        if record["outcome"] != "done"
    ]
    kept = [f"- `{name}`: {_kept(records)}" for name, records in reached.items() if _result(records, "prune")]
    further = ["", "## What pruning kept", "", *(kept or ["Nothing was pruned."])]
    further += ["", "## What ended without a result", "", *(sentences or ["Nothing."]), ""]
    return _TEXT.format(conditions=_conditions(reached, versions)) + "\n".join([*lines, *further])


def versions() -> dict[str, str]:
    """Returns the versions of what computed the figures."""
    return {**toolchain(("torch", "onnx")), **{name: importlib.metadata.version(name) for name in _LIBRARIES}}


def _conditions(found: dict[str, Records], versions: dict[str, str]) -> str:
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    size = f"{networks.WIDTH}x{networks.HEIGHT}"
    int8, handed_over = (
        [ratio for records in found.values() if (ratio := _speedup(records, row)) is not None] for row in (1, 2)
    )
    middle = f" Over float, median of {len(int8)}: INT8 {median(int8):.2f}" if int8 else ""
    middle += f", what is handed over {median(handed_over):.2f}." if handed_over else ""
    where = f"{device_name()}, without a GPU"
    return f"{len(found)} networks, {where}; {named}. Input {size}; {FRAMES} drawn frames of the split val.{middle}"


def _row(name: str, records: Records) -> tuple[str, ...]:
    built, rtx = _result(records, "build-engine"), _result(records, "build-engine rtx")
    ratio, handed_over = _speedup(records), _speedup(records, row=2)
    return (
        f"`{name}`",
        _thousands(_result(records, "export").get("parameters")),
        _pruned(records),
        _cost(records.get("prune")),
        _percent(_result(records, "as its library").get("agreement")),
        _percent(_result(records, "agreement").get("agreement")),
        _integers(built),
        "-" if ratio is None else f"{ratio:.2f}",
        _handed_over(_result(records, "build-engine by default")),
        "-" if handed_over is None else f"{handed_over:.2f}",
        _percent(_result(records, "simulate").get("agreement")),
        _integers(rtx),
    )


def _result(records: Records, step: str) -> dict[str, Any]:
    record = records.get(step) or {}
    return record.get("result") or {} if record.get("outcome") == "done" else {}


def _pruned(records: Records) -> str:
    result = _result(records, "prune")
    if not result:
        return records["prune"]["outcome"] if "prune" in records else "-"
    before, after = result["before"]["parameters"], result["after"]["parameters"]
    return f"{_thousands(after)} ({100 * after / before:.0f})"


def _kept(records: Records) -> str:
    """Counts the layers that pruning left as they were, by its reason."""
    notes = Counter(
        layer["note"].removeprefix("kept: ") for layer in _result(records, "prune")["layers"] if layer["note"]
    )
    return "; ".join(f"{note} ({count})" for note, count in notes.most_common())


def _cost(record: Record | None) -> str:
    return "-" if record is None else f"{record['seconds']:.0f}, {record['peak_bytes'] / 1e9:.1f}"


def _integers(built: dict[str, Any]) -> str:
    if not built:
        return "-"
    return f"{built['integer_layers']} of {built['integer_layers'] + len(built['float_layers'])}"


def _handed_over(built: dict[str, Any]) -> str:
    if not built:
        return "-"
    return str(built["precision"]) if built["precision"] != "int8" else f"int8, {_integers(built)}"


def _speedup(records: Records, row: int = 1) -> float | None:
    rows = _result(records, "bench").get("networks", ())
    return float(rows[row]["latency"]["speed_ratio"]) if len(rows) > row else None


def _thousands(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e3:,.0f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2f}"
