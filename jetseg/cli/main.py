"""The `jetseg` command: finds the verbs and turns errors into one message and an exit code."""

from __future__ import annotations

import errno
import importlib
import os
import re
import sys
import traceback
from typing import NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

import jetseg
from jetseg.cli import options
from jetseg.cli.bars import Bars, console, show_work
from jetseg.cli.output import print_lines
from jetseg.errors import JetsegError, OutOfMemoryError, StageStoppedError, UnavailableError
from jetseg.process_watch import ProcessWatch

# Threads that wait for each other sleep instead of spinning. Spinning is a little faster alone and, as soon as
# anything else runs on few cores, many times slower. OpenMP reads this once, so it stands before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

VERBS = {
    "demo": ("demo:demo", "Runs the whole job on drawn road scenes: train, distill, prune, INT8, camera loop, report."),
    # in the order of the work
    "train": ("train:train", "Trains a network, or fine-tunes a checkpoint with --init."),
    "distill": ("distill:distill", "Trains a student on labels and on a teacher's answers for the same crops."),
    "import": ("import_:import_", "Makes a checkpoint of a network that was trained elsewhere."),
    "measure-layers": ("measure_layers:measure_layers", "Measures operators on this device: a table that predicts."),
    "latency": ("latency:latency", "Predicts how fast a network is on a device, from a table or its peaks."),
    "advise": ("advise:advise", "Tries each technique for a minute, and says which chain pays for a network."),
    "prune": ("prune:prune", "Prunes a network: whole channels, which makes it faster anywhere, or single weights."),
    "factorize": ("factorize:factorize", "Splits convolutions into two or three smaller ones where that is faster."),
    "compress": ("compress:compress", "Runs a recipe: train, prune, fine-tune, export, calibrate, build."),
    "search": ("search:search", "Searches for the best engine within a budget, on one machine or many."),
    "export": ("export:export", "Exports a network to one ONNX file and proves that it computes the same."),
    "calibrate": ("calibrate:calibrate", "Watches a network's activations on images and writes their ranges."),
    "qat": ("qat:qat", "Trains a network under the rounding of its INT8 engine."),
    "render": ("render:render", "Renders a calibrated network for TensorRT: a Q/DQ network, or a calibration cache."),
    "lint": ("lint:lint", "Says what TensorRT refuses, what the DLA leaves to the GPU, and what fills no tensor core."),
    "build-engine": ("build_engine:build_engine", "Builds an engine and measures it against the float network."),
    "baseline": ("baseline:baseline", "Measures what is normal, for the drift monitor of an engine."),
    "eval": ("eval:evaluate", "Scores a network on labelled frames: mIoU, IoU and Dice of each class."),
    "predict": ("predict:predict", "Segments files: images, a video, CT or MR volumes; volumes come back as volumes."),
    "bench": ("bench:bench", "Compares latency, frames per second, size and memory of networks by alternated runs."),
    "parity": ("parity:parity", "Follows a network from checkpoint to engine and names what computes something else."),
    "pack": ("pack:pack", "Packs a network, its ranges and some reference frames into one file for the vehicle."),
    "verify": ("verify:verify", "Builds an engine from a kit on this machine, and proves it on reference frames."),
    "sign": ("sign:sign", "Signs a kit, or a network with its manifest, in minisign's format."),
    "deploy": ("deploy:deploy", "Builds and proves a kit's engine on the vehicle, then switches to it; --rollback."),
    "run": ("run:run", "Runs an engine on a camera, and measures frames per second, frame age and mIoU."),
    "replay": (
        "replay:replay",
        "Runs a recording through an engine and compares its class maps with the recorded ones.",
    ),
    "latency-test": ("latency_test:latency_test", "Measures glass to mask: a camera films a clock, a network runs."),
    "ring-header": ("ring_header:ring_header", "Prints the C header that reads the class maps of `run --ring`."),
    "health": ("health:health", "Tells whether a run on this machine still gets its frames."),
    "report": ("report:report", "Measures networks on the same frames and writes one HTML page about them."),
    "explain": ("explain:explain", "Tells what a smaller network no longer sees, why, and what brings it back."),
    "seal": ("seal:seal", "Vouches for a manifest that lacks its hashes or was changed on purpose."),
    "sparsity": ("sparsity:sparsity", "Counts the zeros in each layer's weights and checks them for 2:4 sparsity."),
    "doctor": ("doctor:doctor", "Examines this machine: board, JetPack, CUDA, TensorRT, OpenCV, cameras, memory."),
}
"""Where each verb is, and its line in the list of verbs; a verb is imported when it is called."""

OPEN_CHECKPOINTS = (
    *("train", "distill", "advise", "prune", "factorize", "compress", "search", "export", "qat"),
    *("baseline", "eval", "predict", "bench", "parity", "run", "latency-test", "replay", "report", "explain"),
)
"""Verbs that may build the network of a checkpoint, and take --trust."""

RENAMED = {"quantize": "qat", "profile": "baseline"}
"""Old names of verbs, which work until the next release but one and are not listed."""


class _Verbs(TyperGroup):
    """The verbs, imported one at a time."""

    listing = False

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Returns the names of all verbs."""
        del ctx
        return list(VERBS)

    def get_command(self, ctx: typer.Context, name: str) -> TyperCommand | None:  # type: ignore[override]
        """Imports a verb; while the list is printed, its line stands for it."""
        del ctx
        if name in RENAMED:
            text = f"`jetseg {name}` is now `jetseg {RENAMED[name]}`; the old name goes with 0.3."
            print_lines(text, style="yellow", console=console)
            name = RENAMED[name]
        if name not in VERBS:
            return None
        place, summary = VERBS[name]
        if self.listing:
            return TyperCommand(name, help=summary)
        module, _, function = place.partition(":")
        single = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)
        verb = getattr(importlib.import_module(f"jetseg.cli.{module}"), function)
        single.command(name)(options.with_trust(verb) if name in OPEN_CHECKPOINTS else verb)
        command = typer.main.get_command(single)
        command.context_settings = {"help_option_names": ["-h", "--help"]}
        return command  # type: ignore[return-value]

    def format_help(self, ctx: typer.Context, formatter: object) -> None:  # type: ignore[override]
        """Prints the list of verbs."""
        self.listing = True
        try:
            super().format_help(ctx, formatter)  # type: ignore[arg-type]
        finally:
            self.listing = False


app = typer.Typer(
    name="jetseg",
    help="Compress a segmentation network, prove what it lost, and run it as an INT8 engine on a camera.",
    cls=_Verbs,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _options(
    version: bool = typer.Option(False, "--version", help="Print the version and stop.", is_eager=True),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks of errors."),  # noqa: ARG001
) -> None:
    if version:
        sys.stdout.write(f"jetseg {jetseg.__version__}\n")
        raise typer.Exit


def main() -> None:
    """Runs the command line and exits.

    0 done, 1 a quality gate failed, 2 wrong input, 3 something is missing, 4 a stage stopped, 70 a bug; ended by a
    signal, 128 and its number.
    """
    verb = next((word for word in sys.argv[1:] if not word.startswith("-")), "jetseg")
    bars = Bars()
    with ProcessWatch(lambda: bars.stage or verb) as watch:
        try:
            with show_work(bars):
                app()
        except SystemExit:
            if watch.failure is None:
                raise
            sys.exit(_explain(watch.failure))
        except Exception as error:  # the last stop: nothing may reach the user as a traceback
            if "--debug" in sys.argv:
                print_lines(traceback.format_exc(), console=console)
            code = _explain(error)
            if isinstance(error, StageStoppedError):
                _leave(code if watch.asked is None else _explain(watch.asked))
            sys.exit(code)


def _leave(code: int) -> NoReturn:
    """Ends a process in which a library still works in a thread: tearing Python down under it would crash."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _explain(error: Exception) -> int:
    if isinstance(error, MemoryError):
        error = OutOfMemoryError("this command")
    if isinstance(error, JetsegError):
        message, code = _with_flags(str(error)), error.exit_code
    elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
        message = (
            f"{error.filename or 'A file'} could not be written: {error.strerror}. "
            "Free some space or give another place."
        )
        code = UnavailableError.exit_code
    elif isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        message, code = "The name of a file is too long. Give a shorter one, also to the files that it names.", 2
    else:
        message = (
            f"jetseg met something that it did not expect: {type(error).__name__}: {error}. "
            "Run again with `jetseg --debug ...` and report what it prints."
        )
        code = 70
    print_lines(f"Error: {message}", style="bold red", console=console)
    return code


def _with_flags(message: str) -> str:
    """Names options in place of the settings that a message speaks of."""
    return re.sub(r"`(\w+)`", lambda found: options.FLAGS.get(found[1], found[0]), message)
