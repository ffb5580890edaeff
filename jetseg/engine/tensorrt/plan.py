"""From an ONNX network to a serialized plan: what TensorRT and TensorRT-RTX have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import onnx

from jetseg.engine.tensorrt.interrupt import interruptible
from jetseg.engine.tensorrt.log import make_log
from jetseg.engine.tensorrt.monitor import make_monitor
from jetseg.engine.tensorrt.problems import OUT_OF_MEMORY, Problem, build_problems, parser_problems
from jetseg.engine.tensorrt.shapes import ShapeRange
from jetseg.errors import ArtifactError, DeviceError, JetsegError

_SHOWN_PROBLEMS = 8


def build_plan(
    trt: ModuleType,
    model: onnx.ModelProto,
    configure: Callable[[Any], None],
    *,
    strongly_typed: bool = True,
    callbacks: Sequence[Any] = (),
    shapes: ShapeRange | None = None,
) -> bytes:
    """Parses a network and builds a plan from it, with reports of progress; Ctrl-C cancels.

    Args:
        trt: TensorRT, or a library with the same interface.
        model: The network, its weights inside.
        configure: Completes the builder's settings.
        strongly_typed: Whether data types are those of `model`; otherwise TensorRT chooses.
        callbacks: Objects that the library calls; an `error` that one of them kept is raised after the build.
        shapes: Shapes that the input may have, where the network leaves that open.

    Returns:
        The serialized plan.

    Raises:
        ArtifactError: The network was refused; each problem is one line.
        DeviceError: Its memory does not suffice.
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    log = make_log(trt)
    builder = trt.Builder(log)
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) if strongly_typed else 0
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, log)  # owns weights of the network: it must live until the plan is built
    if not parser.parse(model.SerializeToString()):
        raise _refused(parser_problems(parser, model) or build_problems(log.errors))
    settings = builder.create_builder_config()
    configure(settings)
    if shapes is not None:
        profile = builder.create_optimization_profile()
        profile.set_shape(shapes.name, shapes.least, shapes.best, shapes.most)
        settings.add_optimization_profile(profile)
    with interruptible() as interrupted:
        monitor = make_monitor(trt, interrupted)
        settings.progress_monitor = monitor
        plan = builder.build_serialized_network(network, settings)
    for callback in (monitor, *callbacks):
        if callback.error is not None:
            raise callback.error
    if plan is None:
        raise _refused(build_problems(log.errors))
    return bytes(plan)


def _refused(problems: Sequence[Problem]) -> JetsegError:
    for problem in problems:
        if problem.reason == OUT_OF_MEMORY:
            return DeviceError(f"TensorRT could not build the engine: {problem.reason}", problem.fix)
    lines = [f"  {problem}" for problem in problems[:_SHOWN_PROBLEMS]]
    if len(problems) > _SHOWN_PROBLEMS:
        lines.append(f"  and {len(problems) - _SHOWN_PROBLEMS} more.")
    return ArtifactError("\n".join(["TensorRT refuses the network:", *(lines or ["  it gives no reason."])]))
