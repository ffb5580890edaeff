"""`jetseg sparsity`: shows the zeros of an ONNX file, layer by layer, and what they save."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from jetseg.cli import options
from jetseg.cli.output import print_json, print_lines, print_table
from jetseg.errors import QualityError

MODEL = typer.Argument(metavar="FILE", help="ONNX file, in float or int8.")
REQUIRE = typer.Option("--require-2-4", help="Fail unless every layer that can be 2:4 sparse is.")


def sparsity(
    model: Annotated[Path, MODEL],
    require: Annotated[bool, REQUIRE] = False,
    as_json: options.AsJson = False,
) -> None:
    """Counts the zeros in each layer's weights and checks every group of four for 2:4 sparsity.

    Sparse tensor cores use zeros only where at least two of every four neighboring input channels are zero. All
    other zeros make no processor faster; they make the compressed file smaller, and its size is shown.

    Examples:

        jetseg sparsity student.onnx

        jetseg sparsity student.int8.onnx --require-2-4
    """
    from jetseg.evaluation.sparsity import gzip_bytes, layer_sparsity
    from jetseg.shipped import find_artifact

    model = find_artifact(model)
    layers = layer_sparsity(model)
    size, compressed = model.stat().st_size, gzip_bytes(model)
    if as_json:
        rows = [{**asdict(layer), "two_four": layer.two_four} for layer in layers]
        print_json({"file_bytes": size, "gzip_bytes": compressed, "layers": rows})
    else:
        table = Table("layer", "weights", "zeros %", "2:4", title=str(model), title_justify="left")
        for layer in layers:
            verdict = "yes" if layer.two_four else f"no, {layer.dense_groups} of {layer.groups} groups are denser"
            table.add_row(
                layer.name,
                f"{layer.weights:,}",
                f"{100 * layer.zeros / layer.weights:.1f}",
                f"cannot: {layer.note}" if layer.note else verdict,
            )
        print_table(table)
        print_lines(f"{size:,} bytes, {compressed:,} after gzip")
    dense = [layer.name for layer in layers if layer.groups and not layer.two_four]
    if require and (dense or not any(layer.two_four for layer in layers)):
        raise QualityError(
            f"{model} is not 2:4 sparse: {len(dense)} layers have groups with fewer than two zeros"
            f"{': ' + ', '.join(dense[:5]) if dense else ''}.",
            "Prune with --method 2:4, and fine-tune with zeros kept.",
        )
