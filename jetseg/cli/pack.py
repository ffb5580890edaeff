"""`jetseg pack`: one file that carries a network to the vehicle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jetseg.cli import options
from jetseg.cli.output import print_json, print_lines
from jetseg.kit.config import PackConfig

if TYPE_CHECKING:
    from jetseg.kit.packing import PackResult


APP = "litert"


@options.with_settings
def pack(
    model: Annotated[Path, typer.Argument(help="Float ONNX file; a .tflite engine for --target litert.")],
    data: options.NeededData,
    out: Annotated[Path, typer.Option(help="Kit to write, as in student.kit.zip; a folder for --target litert.")],
    settings: Annotated[dict[str, Any], options.From(PackConfig)],
    ranges: Annotated[
        Path | None,
        typer.Option("--calibration", help="Its ranges file; without it the kit builds float engines only."),
    ] = None,
    sign: Annotated[
        Path | None, typer.Option(metavar="KEY", help="Private key of minisign to sign the kit with, as FILE.minisig.")
    ] = None,
    manifest: options.Manifest = None,
    as_json: options.AsJson = False,
) -> None:
    """Packs a network, its ranges and some reference frames into one file for the vehicle.

    `jetseg verify` builds the engine there and compares its class maps with those that the float network gives
    here. With a ranges file, TensorRT's INT8 is simulated on the frames first, and a kit that could not pass is
    not written (exit code 1). The kit holds frames of the dataset: mind its license.

    With --target litert, a .tflite engine becomes a folder that an Android or iOS app can take: the file, labels,
    preprocessing as JSON, and golden frames with the bytes that go in and come out.

    Examples:

        jetseg pack student.onnx --calibration student.ranges.json --data camvid:data/camvid --out student.kit.zip

        jetseg pack student.onnx --data synthetic:20 --frames 4 --target orin-nano-8gb --out student.kit.zip

        jetseg pack student.onnx --data camvid:data/camvid --out student.kit.zip --sign ~/.minisign/minisign.key

        jetseg pack engines/student.int8.tflite --target litert --data camvid:data/camvid --out app/
    """
    from jetseg.cli.sign import ask_password
    from jetseg.errors import ConfigError
    from jetseg.kit.signature import sign_file
    from jetseg.network import open_network
    from jetseg.storage import sha256_file
    from jetseg.workflows.kits import pack as run
    from jetseg.workflows.kits import pack_app

    if settings.get("target") == APP:
        if ranges is not None or sign is not None:
            raise ConfigError("--target litert takes a built engine.", "Leave out --calibration and --sign.")
        made = pack_app(open_network(model, manifest), data=data, out=out, **settings)
        if as_json:
            print_json({"folder": str(made.folder), "frames": made.frames, "precision": made.manifest.precision})
        else:
            print_lines(f"{made.folder}: a LiteRT file in {made.manifest.precision} and {made.frames} golden frames")
        return
    result = run(open_network(model, manifest), data=data, out=out, ranges=ranges, **settings)
    sha256 = sha256_file(result.kit)
    signature = None if sign is None else sign_file(result.kit, sign, ask_password)
    if as_json:
        place = None if signature is None else str(signature)
        print_json({"kit": str(result.kit), "sha256": sha256, "signature": place, **result.index.model_dump()})
    else:
        _print(result, sha256)
        if signature is not None:
            print_lines(f"Signed: {signature}")


def _print(result: PackResult, sha256: str) -> None:
    index = result.index
    lines = [
        f"{result.kit}: {result.kit.stat().st_size / 1e6:.2f} MB, {len(index.members)} files, {len(index.frames)} "
        f"reference frames {'with' if index.labelled else 'without'} labels",
        f"SHA-256 {sha256}",
    ]
    if result.simulated is not None:
        lines.append(
            f"INT8 for TensorRT, simulated exactly: {result.simulated.agreement:.2f} % of the pixels keep the float "
            f"network's class (at least {index.tolerance.min_agreement:g})"
        )
    print_lines(*lines, f"On the vehicle: jetseg verify {result.kit.name}")
