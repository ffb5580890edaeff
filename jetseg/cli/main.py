"""The `jetseg` command: collects the verbs and turns errors into one message and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback

import typer

import jetseg
from jetseg.cli.bench import bench
from jetseg.cli.build_engine import build_engine
from jetseg.cli.calibrate import calibrate
from jetseg.cli.compress import compress
from jetseg.cli.demo import demo
from jetseg.cli.distill import distill
from jetseg.cli.doctor import doctor
from jetseg.cli.eval import evaluate
from jetseg.cli.export import export
from jetseg.cli.factorize import factorize
from jetseg.cli.lint import lint
from jetseg.cli.pack import pack
from jetseg.cli.parity import parity
from jetseg.cli.profile import profile
from jetseg.cli.prune import prune
from jetseg.cli.qat import quantize
from jetseg.cli.render import render
from jetseg.cli.report import report
from jetseg.cli.run import run
from jetseg.cli.sparsity import sparsity
from jetseg.cli.train import train
from jetseg.cli.verify import verify
from jetseg.errors import JetsegError, UnavailableError
from jetseg.progress import console

# Threads that wait for each other sleep instead of spinning. Spinning is a little faster alone and, as soon as
# anything else runs on few cores, many times slower. OpenMP reads this once, so it stands before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    name="jetseg",
    help="Compress a segmentation network, prove what it lost, and run it as an INT8 engine on a camera.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


app.command("demo")(demo)
# Verbs, in the order of the work.
app.command("train")(train)
app.command("distill")(distill)
app.command("prune")(prune)
app.command("factorize")(factorize)
app.command("compress")(compress)
app.command("export")(export)
app.command("calibrate")(calibrate)
app.command("quantize")(quantize)
app.command("render")(render)
app.command("lint")(lint)
app.command("build-engine")(build_engine)
app.command("profile")(profile)
app.command("eval")(evaluate)
app.command("bench")(bench)
app.command("parity")(parity)
app.command("pack")(pack)
app.command("verify")(verify)
app.command("run")(run)
app.command("report")(report)
app.command("sparsity")(sparsity)
app.command("doctor")(doctor)


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

    0 done, 1 a quality gate failed, 2 wrong input, 3 something is missing, 4 a stage of the loop stopped.
    """
    try:
        app()
    except Exception as error:  # the last stop: nothing may reach the user as a traceback
        if "--debug" in sys.argv:
            traceback.print_exc()
        sys.exit(_explain(error))


def _explain(error: Exception) -> int:
    if isinstance(error, JetsegError):
        message, code = str(error), error.exit_code
    elif isinstance(error, OSError) and error.errno in (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EACCES,
    ):
        message = (
            f"{error.filename or 'A file'} could not be written: {error.strerror}. "
            "Free some space or give another place."
        )
        code = UnavailableError.exit_code
    else:
        message = (
            f"jetseg met something that it did not expect: {type(error).__name__}: {error}. "
            "Run again with `jetseg --debug ...` and report what it prints."
        )
        code = 70
    console.print(f"Error: {message}", style="bold red", markup=False, highlight=False, soft_wrap=True)
    return code
