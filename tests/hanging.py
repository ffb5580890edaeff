"""Networks and commands that hang in ONNX Runtime's own code, where Python's signal handlers do not run."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from small_network import CLASSES, HEIGHT, WIDTH, small_manifest

from jetseg.network import save_manifest

SCRIPT = """
    import sys, threading, numpy, onnxruntime
    real, left = onnxruntime.InferenceSession.run, [{after}]
    endless = onnxruntime.InferenceSession({network!r}, providers=["CPUExecutionProvider"])

    def run(self, *arguments, **named):
        left[0] -= threading.current_thread().name == {thread!r}
        if left[0] >= 0:
            return real(self, *arguments, **named)
        if len(left) == 1:
            left.append(0)
            sys.stderr.write("now it hangs\\n")
            sys.stderr.flush()
        {then}

    def hang():
        return real(endless, None, {{"image": numpy.zeros({shape}, numpy.float32)}})

    onnxruntime.InferenceSession.run = run
    from jetseg.cli.main import main
    main()
"""


def write_endless_network(folder: Path, *, grows: bool = False) -> Path:
    """Writes a network that no run comes back from, and its manifest; with `grows` it takes more and more memory."""
    value, node = helper.make_tensor_value_info, helper.make_node
    one = numpy_helper.from_array(np.ones(1, np.float32), "one")
    results = [value("go_on", TensorProto.BOOL, []), value("next", TensorProto.FLOAT, None)]
    nodes = [node("Identity", ["go"], ["go_on"]), node("Mul", ["state", "one"], ["next"])]
    if grows:
        nodes.append(node("Identity", ["next"], ["kept"]))
        results.append(value("kept", TensorProto.FLOAT, None))
    inputs = [value("turn", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("state", 1, None)]
    body = helper.make_graph(nodes, "body", inputs, results, [one])
    shape = [1, len(CLASSES), HEIGHT, WIDTH]
    graph = helper.make_graph(
        [
            node("Loop", ["turns", "true", "image"], ["last", "all"] if grows else ["last"], body=body),
            node("Identity", ["last"], ["logits"]),
        ],
        "endless",
        [value("image", TensorProto.FLOAT, shape)],
        [value("logits", TensorProto.FLOAT, shape)],
        [
            numpy_helper.from_array(np.array(2**62), "turns"),
            numpy_helper.from_array(np.array(True), "true"),
        ],
    )
    path = folder / "endless.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    save_manifest(path, small_manifest())
    return path


def start(
    folder: Path,
    *words: object,
    after: int = 0,
    thread: str = "MainThread",
    then: str = "return hang()",
    **named: Any,
) -> subprocess.Popen[str]:
    """Starts a verb in which every run after the first ones of a thread hangs, or does what `then` says."""
    network = write_endless_network(folder)
    shape = (1, len(CLASSES), HEIGHT, WIDTH)
    script = textwrap.dedent(SCRIPT).format(network=str(network), after=after, thread=thread, then=then, shape=shape)
    command = [sys.executable, "-c", script, *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": folder}
    return subprocess.Popen(command, **(pipes | named))


def wait_until(process: subprocess.Popen[str], text: str) -> str:
    """Reads what a process says until a line holds `text`; returns all of it."""
    read = []
    for line in process.stderr:
        read.append(line)
        if text in line:
            return "".join(read)
    raise AssertionError(f"It never said {text!r}: {''.join(read)}")
