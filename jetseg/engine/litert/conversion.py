"""Converts a float ONNX network by litert-torch, in a process of its own: this half of jetseg never imports torch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import OrderedDict
from importlib.util import find_spec
from pathlib import Path

import onnx

import jetseg
from jetseg.engine.litert.layout import file_shape, moves_input, moves_output, output_names
from jetseg.errors import ArtifactError, JetsegError, MissingDependencyError, UnavailableError
from jetseg.network import Network
from jetseg.progress import task
from jetseg.storage import scratch_folder

_CONVERTER = "jetseg.exporters.litert"
_REQUIREMENTS = Path(__file__).with_name("converter.txt")
_UNAVAILABLE = 3
_HINT = f"Install it with: pip install --no-deps --requirement {_REQUIREMENTS}."
_KEPT = 4
_converted: OrderedDict[str, bytes] = OrderedDict()
"""The last files by their network and its ends: a build that compares engines needs one several times."""


def convert(network: Network) -> bytes:
    """Returns a float network as a LiteRT file, whose images have their channels last at both ends.

    Raises:
        ArtifactError: The network has an operator that has no torch form, or that LiteRT lacks.
        MissingDependencyError: torch or litert-torch is not installed.
    """
    ends = network.manifest.input, *network.manifest.outputs
    key = " ".join([network.sha256, *(end.model_dump_json() for end in ends)])
    if key not in _converted:
        with task("Converting for LiteRT"):
            _converted[key] = _convert(network)
        if len(_converted) > _KEPT:
            _converted.popitem(last=False)
    return _converted[key]


def check_converter() -> None:
    """Refuses at once what would fail after a long calibration.

    Raises:
        MissingDependencyError: torch or litert-torch is not installed.
    """
    if find_spec("torch") is None:
        raise MissingDependencyError("torch", "train", "reads networks for LiteRT's converter")
    if find_spec("litert_torch") is None:
        raise MissingDependencyError("litert_torch", "litert", "converts networks for LiteRT", _HINT)


def _convert(network: Network) -> bytes:
    spec, outputs = network.manifest.input, network.manifest.outputs
    moved = ["input"] if moves_input(spec) else []
    moved += [str(number) for number, output in enumerate(outputs) if moves_output(output)]
    kind = "uint8" if spec.kind == "frame" else "float32"
    with scratch_folder("jetseg-litert-") as folder:
        source, out = folder / "network.onnx", folder / "network.tflite"
        source.write_bytes(_with_its_outputs(network).SerializeToString())
        words = [
            sys.executable,
            "-m",
            _CONVERTER,
            str(source),
            str(out),
            kind,
            ",".join(moved),
            *map(str, file_shape(spec)),
        ]
        root = str(Path(jetseg.__file__).parents[1])
        paths = os.pathsep.join(path for path in (root, os.environ.get("PYTHONPATH")) if path)
        done = subprocess.run(
            words, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False
        )
        if done.returncode or not out.is_file():
            raise _explained(done.stderr, network.path)
        return out.read_bytes()


def _with_its_outputs(network: Network) -> onnx.ModelProto:
    graph = network.float_graph()
    values = {value.name: value for value in graph.model.graph.output}
    names = output_names(network.manifest, graph.outputs)
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    del model.graph.output[:]
    model.graph.output.extend(values[name] for name in names)
    return model


def _explained(stderr: str, path: Path) -> JetsegError:
    lines = [line for line in stderr.splitlines() if line.strip()]
    code, *told = lines[-1].split("\x1f") if lines else [""]
    if len(told) != 2:
        return ArtifactError(f"litert-torch failed on {path}: {lines[-1] if lines else 'it was killed'}")
    if code == str(_UNAVAILABLE):
        return UnavailableError(*told)
    return ArtifactError(f"{path}: {told[0]}", told[1])
