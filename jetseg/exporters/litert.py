"""From an ONNX file to a float LiteRT file, by its torch form; a process of its own, because it needs torch.

python -m jetseg.exporters.litert NETWORK.onnx NETWORK.tflite TYPE MOVED SHAPE...
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import jetseg.models  # isort: skip  # noqa: F401 - says plainly that torch is missing
import onnx
import torch
from torch import Tensor, nn

from jetseg.compress.qat.module import OnnxModule
from jetseg.errors import ArtifactError, JetsegError, import_optional


class ChannelsLast(nn.Module):
    """A network whose images have their channels last.

    Args:
        network: The network.
        moved: At which of its ends, "input" and the numbers of its outputs, it has images with the channels second.
    """

    def __init__(self, network: nn.Module, moved: Collection[str]) -> None:
        super().__init__()
        self.network = network
        self.moved = frozenset(moved)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Runs the network.

        Args:
            x: N x H x W x C.

        Returns:
            N x H x W x C, or whatever else than images the network gives; a tuple of several.
        """
        given = self.network(x.permute(0, 3, 1, 2) if "input" in self.moved else x)
        outputs = given if isinstance(given, tuple) else (given,)
        laid = tuple(
            y.permute(0, 2, 3, 1) if str(number) in self.moved and y.ndim == 4 else y
            for number, y in enumerate(outputs)
        )
        return laid if len(laid) > 1 else laid[0]


def convert(model: onnx.ModelProto, example: Tensor, out: Path, moved: Collection[str]) -> None:
    """Converts a float network of ONNX; it is proven by the caller, who has what runs both files.

    Args:
        model: The network, with one input.
        example: An input of the file.
        out: File to write.
        moved: Ends of the ONNX network, "input" and the numbers of its outputs, where images have their channels
            second: those of the file have them last.

    Raises:
        ArtifactError: It has an operator that has no torch form, or that LiteRT lacks.
        MissingDependencyError: litert-torch is not installed.
    """
    converter = import_optional("litert_torch", "litert_torch", "litert", "converts networks for LiteRT")
    outputs = [value.name for value in model.graph.output]
    network = ChannelsLast(OnnxModule(model, outputs), moved).eval().requires_grad_(False)
    try:
        converter.convert(network, (example,)).export(str(out))
    except Exception as error:  # whatever torch.export and the converter's compiler raise
        reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        raise ArtifactError(
            f"litert-torch cannot convert the network: {reason.strip()}",
            "Export the network with a simpler form of what is named, or build for onnxruntime.",
        ) from error


def main(words: Sequence[str]) -> int:
    """Converts a file; errors are a line on stderr, that of the exit code first."""
    source, out, kind, moved, *shape = words
    example = torch.zeros([int(size) for size in shape], dtype=getattr(torch, kind))
    try:
        convert(onnx.load(source), example, Path(out), moved.split(","))
    except JetsegError as error:
        sys.stderr.write(f"\n{error.exit_code}\x1f{error.found}\x1f{error.fix}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
