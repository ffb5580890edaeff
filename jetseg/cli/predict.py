"""`jetseg predict`: files in, class maps out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from jetseg.cli import options
from jetseg.cli.output import print_json, print_lines
from jetseg.evaluation.config import PredictConfig


@options.with_settings
def predict(
    engine: Annotated[Path, typer.Argument(help="Engine, ONNX file or checkpoint.")],
    data: Annotated[
        str,
        typer.Option(metavar="FILES", help="A folder of images, an image, a video, or a dataset spec: nifti:, dicom:."),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder; for one volume also a .nii.gz file, for frames also an .mp4 to draw into.")
    ],
    settings: Annotated[dict[str, Any], options.From(PredictConfig)],
    limits: options.Limits,
    manifest: options.Manifest = None,
    as_json: options.AsJson = False,
) -> None:
    """Segments files: images, a video, CT or MR volumes.

    Volumes become NIfTI files in the geometry of the input, voxel for voxel; frames become 8-bit PNG files of class
    ids, of the frame's size and name. How a volume becomes frames (plane, neighbors, pixel size, window) stands in the
    network's manifest.

    Nothing here is a medical device.

    Examples:

        jetseg predict unet.int8.onnx --data nifti:ct.nii.gz --out organs.nii.gz

        jetseg predict unet.int8.onnx --data dicom:study/series --out organs.nii.gz --overlay

        jetseg predict unet.int8.onnx --data nifti:scans --out organs          # a file for each volume

        jetseg predict student.int8.onnx --data photos --out maps --overlay

        jetseg predict student.int8.onnx --data drive.mp4 --out drawn.mp4
    """
    from jetseg.network import open_network
    from jetseg.workflows.predicting import predict as run

    options.set_limits(limits)
    result = run(open_network(engine, manifest), data=data, out=out, **settings)
    if as_json:
        names = dict(enumerate(result.classes))
        print_json({"frames": result.frames, "files": [str(path) for path in result.paths], "classes": names})
        return
    for path in result.paths:
        print_lines(str(path))
    ids = ", ".join(f"{number} {name}" for number, name in enumerate(result.classes))
    print_lines(f"{result.frames} frames; ids: {ids}", style="dim")
