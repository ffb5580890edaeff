"""`jetseg eval`: accuracy of one network on one dataset split."""

from __future__ import annotations

import json
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from jetseg.cli.artifacts import by_name
from jetseg.cli.calibrate import PlacementName

if TYPE_CHECKING:
    from jetseg.data.contract import Split
    from jetseg.engine.backend import Runner
    from jetseg.manifest import Accuracy
    from jetseg.quantization.ranges import Policy

DATA = typer.Option(
    metavar="SPEC", help="camvid:DIR, cityscapes:DIR, folder:DIR, video:FILE, synthetic or synthetic:N."
)
SPLIT = typer.Option(help="Split of the dataset, as in train, val or test.")
FRAMES = typer.Option(min=1, help="Score only this many frames, spread evenly over the split; all by default.")
SIMULATE = typer.Option(
    help="Score the float network as this backend would run it in INT8, computed exactly; says nothing about speed."
)


class SimulationName(str, Enum):
    """Backends whose arithmetic can be simulated, for the command line."""

    tensorrt = "tensorrt"


def evaluate(
    artifact: Annotated[Path, typer.Argument(help="Checkpoint (.safetensors), ONNX file or engine.", callback=by_name)],
    data: Annotated[str, DATA],
    split: Annotated[str, SPLIT] = "val",
    manifest: Annotated[Path | None, typer.Option(help="Manifest of the files that have none.")] = None,
    frames: Annotated[int | None, FRAMES] = None,
    simulate: Annotated[SimulationName | None, SIMULATE] = None,
    calibration: Annotated[Path | None, typer.Option(help="Ranges file, for --simulate.")] = None,
    placement: Annotated[
        PlacementName | None, typer.Option(help="Placement to simulate; by default that of the ranges file.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="Also count the pixels that get the class that this network gives them, as its FP32 parent."),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of a CPU backend.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Scores a network on labelled frames: mIoU, IoU and Dice of each class, pixel accuracy.

    One confusion matrix is summed over the whole split; mIoU is the mean of its IoU per class. Pixels with
    the ignored label are not scored; a void prediction on a labelled pixel counts as an error.

    With --reference, and with --simulate against the float network itself, the share of pixels that both networks
    give the same class is counted as well; of frames without labels, as those of a video, only that.

    Examples:

        jetseg eval student.int8.onnx --data camvid:data/camvid --split test --reference student.onnx

        jetseg eval student.onnx --simulate tensorrt --calibration student.ranges.json --data camvid:data/camvid

        jetseg eval student.int8.onnx --data video:drive.mp4 --split all --frames 50 --reference student.onnx

        jetseg eval foreign.onnx --manifest foreign.yaml --data folder:data/mine --split val --json
    """
    from jetseg.cli.artifacts import open_any
    from jetseg.config import changed
    from jetseg.data.dataset import open_split
    from jetseg.engine.simulation import simulate_tensorrt
    from jetseg.errors import ConfigError
    from jetseg.manifest import manifest_path
    from jetseg.provenance import device_name, toolchain
    from jetseg.report.rows import Entry

    dataset = open_split(data, split)
    if simulate is None:
        runner = open_any(artifact, manifest, threads)
    else:
        if calibration is None:
            raise ConfigError("--simulate needs the network's ranges.", "Give --calibration FILE.")
        where: Policy | None = None if placement is None else placement.policy
        runner = simulate_tensorrt(artifact, calibration, placement=where, manifest_file=manifest, threads=threads)
        reference = reference or artifact
    # the file beside a network tells most about it
    own = None if reference is None or (reference != artifact and manifest_path(reference).is_file()) else manifest
    other = open_any(reference, own, threads) if reference else None
    try:
        accuracy, agreement = _measure(runner, other, dataset, frames)
    finally:
        runner.close()
        if other:
            other.close()
    if accuracy:
        accuracy = changed(accuracy, simulated=simulate is not None)
    conditions = {
        "backend": Entry(artifact.stem, artifact, runner, runner.manifest).backend,
        "precision": runner.manifest.precision,
        "device": device_name(),
        "toolchain": toolchain(),
    }
    if as_json:
        scores = {**accuracy.model_dump(), "mean_dice": _rounded(accuracy.mean_dice)} if accuracy else {"split": split}
        content = {"artifact": str(artifact), **scores, "data": data, **conditions}
        if agreement is not None:
            content |= {"reference": str(reference), "agreement": round(agreement, 3)}
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
    else:
        if accuracy:
            _print(artifact, accuracy, conditions)
        if agreement is not None:
            sentence = f"{agreement:.3f} % of the pixels get the class that {reference} gives them"
            Console().print(sentence, markup=False, highlight=False, soft_wrap=True)


def _measure(
    runner: Runner, other: Runner | None, dataset: Split, frames: int | None
) -> tuple[Accuracy | None, float | None]:
    """Returns the accuracy, if there are labels, and the agreement with another network, if there is one."""
    from jetseg.engine.backend import Segmenter
    from jetseg.evaluate.accuracy import as_record, measure_accuracy
    from jetseg.evaluate.agreement import AgreementMeter

    if other is None:
        return as_record(measure_accuracy(Segmenter(runner), runner.manifest, dataset, frames=frames), dataset), None
    meter = AgreementMeter(Segmenter(runner), Segmenter(other), runner.manifest, other.manifest)
    if dataset[0].label_hw_u8 is None:
        meter.run(dataset, frames)
        return None, meter.agreement.percent
    score = measure_accuracy(meter, runner.manifest, dataset, frames=frames)
    return as_record(score, dataset), meter.agreement.percent


def _print(artifact: Path, accuracy: Accuracy, conditions: dict[str, Any]) -> None:
    table = Table()
    table.add_column("class")
    table.add_column("IoU %", justify="right")
    table.add_column("Dice %", justify="right")
    for name, iou in accuracy.per_class_iou.items():
        table.add_row(name, _percent(iou), _percent(accuracy.per_class_dice[name]))
    table.add_section()
    table.add_row("mean", _percent(accuracy.miou), _percent(accuracy.mean_dice), style="bold")
    table.add_row("pixel accuracy", _percent(accuracy.pixel_accuracy))
    console = Console()
    heading = f"{artifact.name} on {accuracy.data}, split {accuracy.split}, {accuracy.frames} frames"
    console.print(heading, style="bold", markup=False, highlight=False)
    console.print(table, markup=False)
    versions = ", ".join(f"{name} {version}" for name, version in conditions["toolchain"].items())
    console.print(
        f"{conditions['precision']} in {conditions['backend']} on {conditions['device']}; {versions}",
        style="dim",
        markup=False,
        highlight=False,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
