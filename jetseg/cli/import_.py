"""`jetseg import`: makes a checkpoint of a network that was trained elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from jetseg.cli import options
from jetseg.cli.output import print_json, print_lines
from jetseg.cli.settings_file import parsed
from jetseg.workflows.config import ImportConfig


@options.with_settings
def import_(
    factory: Annotated[
        str, typer.Argument(metavar="FACTORY", help="package.module:factory of the network, or a name of jetseg's.")
    ],
    settings: Annotated[dict[str, Any], options.From(ImportConfig)],
    weights: Annotated[
        Path, typer.Option(metavar="FILE", help="Its state_dict: .pt or .pth (nothing in it is run), or .safetensors.")
    ],
    manifest: Annotated[
        Path,
        typer.Option(metavar="FILE", help="YAML or JSON that names classes and input, as for a foreign ONNX file."),
    ],
    out: Annotated[Path, typer.Option(metavar="CKPT", help="Checkpoint (.safetensors) to write.")],
    as_json: options.AsJson = False,
) -> None:
    """Makes a checkpoint of a network that was trained elsewhere, without training it.

    The network is probed first, for a second or a few: it must run in training and eval mode, give logits that fit
    classes and input, be trainable, and compute the same when it is exported, saved and loaded. Logits may be returned
    alone or among other outputs; where it is not clear which they are, the message lists the values of --output.

    Examples:

        jetseg import my_package.networks:bisenet --weights best.pth --manifest network.yaml --out bisenet.safetensors

        jetseg import nets:segformer --weights hub.safetensors --manifest seg.yaml --output logits --out s.safetensors
    """
    from jetseg.workflows.importing import import_network

    if "model_options" in settings:
        settings = {**settings, "model_options": parsed(settings["model_options"])}
    result = import_network(factory, weights=weights, manifest=manifest, out=out, **settings)
    described = result.checkpoint.manifest
    spec = described.model
    if as_json:
        print_json(
            {
                "checkpoint": str(result.checkpoint.path),
                "output": spec and spec.output,
                "train_output": spec and spec.train_output,
                "prefix": result.weights.prefix,
                "ignored": result.weights.ignored,
                "notes": result.notes,
            }
        )
        return
    place = spec.output if spec and spec.output is not None else "alone"
    print_lines(
        f"{result.checkpoint.path}: {described.num_classes} classes, "
        f"{described.input.width}x{described.input.height}, logits: {place}",
        *(f"note: {note}" for note in result.notes),
    )
