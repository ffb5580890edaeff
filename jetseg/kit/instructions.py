"""The text inside a kit, for the person at the vehicle."""

from __future__ import annotations

from jetseg.kit.contents import KitIndex


def instructions(index: KitIndex, kit: str) -> str:
    """Returns the README of a kit.

    Args:
        index: The kit's index.
        kit: Name of the kit's file.
    """
    precision = "int8" if index.ranges else "fp32"
    target = f" for {index.target}" if index.target else ""
    caches = (
        "\n`caches/` holds the calibration for other tools of TensorRT 10, one file per version; TensorRT 11 takes "
        f"`{index.qdq}` instead.\n"
        if index.qdq
        else ""
    )
    labels = f", mIoU at most {index.tolerance.max_drop:g} points lower" if index.labelled else ""
    return f"""# Deployment kit{target}

On the vehicle, with jetseg {index.jetseg} or newer:

    jetseg doctor
    jetseg verify {kit} --backend tensorrt        # or onnxruntime
    jetseg run engines/ENGINE --source 0

`verify` unpacks the kit, builds the {precision} engine on the device, runs the {len(index.frames)} reference frames
and compares: at least {index.tolerance.min_agreement:g} % of the pixels must get the float network's class{labels}.
It prints where the engine is. Exit code 0: use it. 1: it computes something else, and the classes are named. 2: the
kit is damaged. 3: something is missing on the device; the message says what.

`jetseg deploy {kit} --backend tensorrt` does the same beside a loop that runs `engines/current`, and switches to the
engine if it passed.

`jetseg build-engine {kit} --backend tensorrt --option KEY=VALUE` builds with other settings, and
`jetseg verify {kit} --engine ENGINE` proves what came out.

`jetseg measure-layers {kit} --backend tensorrt --precision {precision} --out table.json`, while nothing else runs,
measures how long each operator takes here. Bring the table to the workstation: `jetseg latency` and `jetseg prune`
predict with it what other networks will take on this device.
{caches}
`frames/` is a dataset (`folder:frames`, split `all`); `frames/expected/` holds the float network's class ids.
"""
