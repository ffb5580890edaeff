"""`jetseg eval`: accuracy of one network on one dataset split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from jetseg.cli import options
from jetseg.cli.output import figure, origin, print_json, print_lines, print_table, right
from jetseg.evaluation.config import EvaluateConfig
from jetseg.quantization.config import Policy

if TYPE_CHECKING:
    from jetseg.measured import Accuracy, VolumeAccuracy
    from jetseg.workflows.evaluating import Evaluation


@options.with_settings
def evaluate(
    artifact: Annotated[Path, typer.Argument(help="Checkpoint (.safetensors), ONNX file or engine.")],
    data: options.NeededData,
    settings: Annotated[dict[str, Any], options.From(EvaluateConfig)],
    limits: options.Limits,
    simulate: Annotated[
        Literal["tensorrt", "litert"] | None,
        typer.Option(help="Score the float network as this backend would run it in INT8, computed exactly."),
    ] = None,
    ranges: Annotated[Path | None, typer.Option("--calibration", help="Ranges file, for --simulate.")] = None,
    placement: Annotated[
        Policy | None, typer.Option(help="Placement to simulate; by default that of the ranges file.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="Also count the pixels that get the class that this network gives them, as its FP32 parent."),
    ] = None,
    manifest: options.Manifest = None,
    as_json: options.AsJson = False,
) -> None:
    """Scores a network on labelled frames: mIoU, IoU and Dice of each class, pixel accuracy.

    One confusion matrix is summed over the whole split; mIoU is the mean of its IoU per class. Pixels with
    the ignored label are not scored; a void prediction on a labelled pixel counts as an error.

    With --reference, and with --simulate against the float network itself, the share of pixels that both networks
    give the same class is counted as well; of frames without labels, as those of a video, only that.

    Volumes (nifti:, dicom:) are also scored whole, in their own voxels, organ by organ: Dice, surface distances in
    millimeters (HD95, normalized surface Dice), milliliters, and lesions found and missed.

    Examples:

        jetseg eval student.int8.onnx --data camvid:data/camvid --split test --reference student.onnx

        jetseg eval student.onnx --simulate tensorrt --calibration student.ranges.json --data camvid:data/camvid

        jetseg eval student.int8.onnx --data video:drive.mp4 --split all --frames 50 --reference student.onnx

        jetseg eval foreign.onnx --manifest foreign.yaml --data folder:data/mine --split val --json
    """
    from jetseg.evaluation.tasks import has_one_class_map
    from jetseg.network import open_network
    from jetseg.workflows.evaluating import evaluate as run
    from jetseg.workflows.opening import manifest_for

    options.set_limits(limits)
    network, other = open_network(artifact, manifest), None
    if reference is not None:
        same = reference == artifact
        other = network if same else open_network(reference, manifest_for(reference, manifest))
    elif simulate is not None:
        reference = artifact
    result = run(network, data=data, reference=other, simulate=simulate, ranges=ranges, placement=placement, **settings)
    by_task = not has_one_class_map(network.manifest)
    if as_json:
        print_json(_content(artifact, reference, result, by_task=by_task))
        return
    if result.accuracy:
        _print(network.path, result.accuracy, result.conditions)
    if result.agreement and by_task:
        print_lines(*(f"{percent:.3f} % as {reference} in {task}" for task, percent in result.agreement.kept.items()))
    elif result.agreement:
        print_lines(f"{result.agreement.percent:.3f} % of the pixels get the class that {reference} gives them")


def _content(artifact: Path, reference: Path | None, result: Evaluation, *, by_task: bool) -> dict[str, Any]:
    scores: dict[str, Any] = {}
    if accuracy := result.accuracy:
        dice = accuracy.mean_dice
        scores = {**accuracy.model_dump(), "mean_dice": None if dice is None else round(dice, 2)}
        if result.cases:
            scores["cases"] = {case.name: case.organs for case in result.cases}
    content = {"artifact": str(artifact), **scores, **result.conditions, "frames_not_finite": result.frames_not_finite}
    if result.agreement:
        content |= {"reference": str(reference), "agreement": round(result.agreement.percent, 3)}
        if by_task:
            content["agreement_by_task"] = {name: round(each, 3) for name, each in result.agreement.kept.items()}
    return content


def _print(artifact: Path, accuracy: Accuracy, conditions: dict[str, Any]) -> None:
    table = Table("class", right("IoU %"), right("Dice %"))
    for name, iou in accuracy.per_class_iou.items():
        table.add_row(name, figure(iou), figure(accuracy.per_class_dice[name]))
    table.add_section()
    table.add_row("mean", figure(accuracy.miou), figure(accuracy.mean_dice), style="bold")
    table.add_row("pixel accuracy", figure(accuracy.pixel_accuracy))
    if accuracy.tasks:
        table = Table("task", "metric", right("value"))
        for name, figures in accuracy.tasks.items():
            for metric, value in figures.items():
                table.add_row(name, metric, figure(value))
    heading = f"{artifact.name} on {accuracy.data}, split {accuracy.split}, {accuracy.frames} frames"
    print_lines(heading, style="bold")
    print_table(table)
    if accuracy.volumes is not None:
        _print_volumes(accuracy.volumes)
    print_lines(origin(conditions), style="dim")


def _print_volumes(volumes: VolumeAccuracy) -> None:
    nsd = f"NSD {volumes.tolerance_mm:g} mm %"
    table = Table("organ", *map(right, ("volumes", "Dice %", "IoU %", "HD95 mm", nsd, "ml", "error ml", "lesions")))
    for name, organ in volumes.organs.items():
        seen = (organ.lesions_found or 0) + (organ.lesions_missed or 0)
        lesions = "" if organ.lesions_found is None else f"{organ.lesions_found} of {seen}, {organ.lesions_false} false"
        figures = (organ.dice, organ.iou, organ.hd95_mm, organ.nsd, organ.volume_ml, organ.volume_error_ml)
        table.add_row(name, str(organ.cases), *map(figure, figures), lesions)
    table.add_section()
    means = (figure(volumes.dice), "", figure(volumes.hd95_mm), figure(volumes.nsd))
    table.add_row("mean", str(volumes.cases), *means, style="bold")
    print_lines("In the volumes' own voxels:")
    print_table(table)
