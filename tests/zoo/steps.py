"""The steps that each network goes through, as command lines that are run in a folder of its own."""

from __future__ import annotations

from dataclasses import dataclass

from zoo import networks

FRAMES = 8
DATA = ("--data", f"synthetic:{2 * FRAMES}")
SIZE = ("--height", str(networks.HEIGHT), "--width", str(networks.WIDTH))
OPEN = ("--max-drop", "100", "--max-class-drop", "100", "--min-agreement", "0")
"""The gate measures but refuses nothing: after twelve steps of training there is no accuracy to keep."""
PLACES = {"pidnet_s": ("--output", "1"), "stdc1": ("--output", "0")}
"""Where the logits are, for networks that leave it open."""


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: As records and table call it.
        command: A module, which is run as `python -m` does, and its arguments.
        makes: The file that it is for, which is read by later steps.
        needs: File of an earlier step, without which there is nothing to do.
        seconds: Longest time in seconds; more is a fault.
        timed: Whether it measures speed, and nothing else may run beside it.
    """

    name: str
    command: tuple[str, ...]
    makes: str | None = None
    needs: str | None = None
    seconds: float = 600.0
    timed: bool = False


def steps_of(name: str) -> tuple[Step, ...]:
    """Returns the steps of one network, in order."""
    factory, place = f"zoo.networks:{name}", PLACES.get(name, ())
    trusted = ("--trust", factory)
    few = ("--data", "synthetic:4", "--epochs", "1", "--batch-size", "2")
    calibrated = ("--calibration", "net.ranges.json", *DATA)
    frames = ("--frames", str(FRAMES))
    default = (*calibrated, "--eval-frames", str(FRAMES), *OPEN)
    measured = (*default, "--force")
    rtx = ("--backend", "tensorrt_rtx", "--target", "sm86")
    return (
        Step("weights", ("zoo.weights", name, "net.pt"), "net.pt"),
        Step(
            "import",
            _jetseg(
                "import", factory, "--weights", "net.pt", "--manifest", MANIFEST, *place, "--out", "net.safetensors"
            ),
            "net.safetensors",
            "net.pt",
        ),
        Step(
            "train",
            _jetseg(
                "train", "--model", factory, "--weights", "net.pt", "--out", "train", *place, *SIZE, *few, "--no-probe"
            ),
            "train/best.safetensors",
            "net.pt",
        ),
        Step(
            "prune",
            _jetseg("prune", "net.safetensors", *trusted, "--ratio", "0.5", "--out", "pruned.safetensors"),
            "pruned.safetensors",
            "net.safetensors",
            seconds=120.0,
        ),
        Step(
            "export pruned",
            _jetseg("export", "pruned.safetensors", *trusted, "--out", "pruned.onnx", *DATA),
            "pruned.onnx",
            "pruned.safetensors",
        ),
        Step(
            "export",
            _jetseg("export", "net.safetensors", *trusted, "--out", "net.onnx", *DATA),
            "net.onnx",
            "net.safetensors",
        ),
        Step("as its library", ("zoo.same", name, "net.pt", "net.onnx"), None, "net.onnx"),
        Step("parity", _jetseg("parity", "net.safetensors", "net.onnx", *trusted, *DATA, *frames), None, "net.onnx"),
        Step(
            "calibrate",
            _jetseg("calibrate", "net.onnx", *DATA, "--preset", "fast", "--images", "16", "--out", "net.ranges.json"),
            "net.ranges.json",
            "net.onnx",
        ),
        Step(
            "build-engine",
            _jetseg("build-engine", "net.onnx", *measured, "--out", "net.int8.onnx"),
            "net.int8.onnx",
            "net.ranges.json",
        ),
        Step(
            "agreement",
            _jetseg("eval", "net.int8.onnx", *DATA, *frames, "--reference", "net.onnx"),
            None,
            "net.int8.onnx",
        ),
        Step(
            "build-engine rtx",
            _jetseg("build-engine", "net.onnx", *rtx, *measured, "--out", "net.rtx"),
            "net.rtx",
            "net.ranges.json",
        ),
        Step(
            "simulate",
            _jetseg("eval", "net.onnx", "--simulate", "tensorrt", *calibrated, *frames),
            None,
            "net.ranges.json",
        ),
        Step(
            "build-engine by default",
            _jetseg("build-engine", "net.onnx", *default, "--out", "net.default.onnx"),
            "net.default.onnx",
            "net.ranges.json",
            timed=True,
        ),
        Step(
            "bench",
            _jetseg("bench", "net.onnx", "net.int8.onnx", "net.default.onnx", "--seconds", "0.5"),
            needs="net.default.onnx",
            timed=True,
        ),
    )


MANIFEST = "manifest.yaml"


def _jetseg(*words: str) -> tuple[str, ...]:
    return ("jetseg", *words, "--json")
