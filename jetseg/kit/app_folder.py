"""A folder that an app for Android or iOS takes: a LiteRT file, its labels, how frames are fed, and golden frames."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.artifact_file import copy_artifact
from jetseg.data.dataset import Dataset
from jetseg.engine.engine import open_engine
from jetseg.engine.litert.layout import channels_last
from jetseg.engine.litert.library import open_interpreter
from jetseg.engine.litert.runner import as_file_takes
from jetseg.errors import ArtifactError, ConfigError, QualityError
from jetseg.evaluation.accuracy import spread
from jetseg.evaluation.tasks import refuse_several
from jetseg.kit.config import PackConfig
from jetseg.manifest import Manifest
from jetseg.network import Network
from jetseg.postprocess import score_threshold
from jetseg.preprocess import Preprocessor
from jetseg.progress import track
from jetseg.storage import check_place, scratch_folder, sync_tree, write_bytes, write_json, write_text, writing

LITERT = "litert"
"""As `PackConfig.target`."""
MODEL, LABELS, FEEDING, GOLDEN = "model.tflite", "labels.txt", "preprocessing.json", "golden"


@dataclass(frozen=True)
class AppFolder:
    """What was written.

    Attributes:
        folder: The folder.
        frames: Golden frames in it.
        manifest: Manifest of the LiteRT file in it.
    """

    folder: Path
    frames: int
    manifest: Manifest


def pack_app(engine: Network, dataset: Dataset, config: PackConfig, out: Path) -> AppFolder:
    """Packs a LiteRT engine for an app.

    Golden frames are pictures with the very bytes that go into the file and come out of it, so that an app's author
    sees which step differs. What was written is read back and run before it is said done.

    Args:
        engine: The engine.
        dataset: Where the golden frames come from; the folder holds them.
        config: Which frames.
        out: Folder to make.

    Raises:
        ConfigError: The folder exists, or the network tells depth.
        ArtifactError: The network is no LiteRT engine.
        QualityError: The file gives other numbers when it is run again.
    """
    if engine.manifest.backend != LITERT:
        raise ArtifactError(
            f"{engine.path} is no LiteRT engine.",
            "Build one first: `jetseg build-engine MODEL.onnx --backend litert --data SPEC`.",
        )
    refuse_several(engine.manifest, "An app's folder")
    check_place(out)
    if out.exists():
        raise ConfigError(f"{out} exists already.", "Give another `out`, or remove it.")
    split = dataset.split(config.split)
    places = spread(len(split), config.frames)
    with writing(out), scratch_folder(".jetseg-app-", out.parent) as scratch:
        folder = scratch / out.name
        copy_artifact(engine.path, folder / MODEL)
        write_text(folder / LABELS, "\n".join(engine.manifest.classes) + "\n")
        interpreter = open_interpreter(engine.read(), str(engine.path), config.threads)
        write_json(folder / FEEDING, _feeding(engine.manifest, interpreter))
        write_text(folder / "README.md", _readme(engine.manifest, len(places)))
        with open_engine(engine, threads=config.threads) as opened:
            for number, place in enumerate(track(places, "Running golden frames")):
                frame = split[place].image_hwc_u8
                given = Preprocessor(engine.manifest.input)(frame)
                taken = as_file_takes(channels_last(given, engine.manifest), interpreter.get_input_details()[0])
                made = _run(interpreter, taken)
                stem = folder / GOLDEN / f"{number:03}"
                write_bytes(stem.with_suffix(".png"), _png(frame))
                write_bytes(stem.with_suffix(".input.bin"), taken.tobytes())
                write_bytes(stem.with_suffix(".output.bin"), made.tobytes())
                write_bytes(stem.with_suffix(".classes.png"), _png(opened.segment(frame)))
        _check(folder, config.threads)
        sync_tree(folder)
        shutil.move(folder, out)
    return AppFolder(out, len(places), engine.manifest)


def _check(folder: Path, threads: int | None) -> None:
    """Runs the packed file on the packed inputs, as an app does."""
    interpreter = open_interpreter((folder / MODEL).read_bytes(), MODEL, threads)
    end = interpreter.get_input_details()[0]
    for file in sorted((folder / GOLDEN).glob("*.input.bin")):
        given = np.frombuffer(file.read_bytes(), end["dtype"]).reshape(end["shape"])
        expected = file.with_name(file.name.replace(".input.", ".output.")).read_bytes()
        if _run(interpreter, given).tobytes() != expected:
            raise QualityError(f"{MODEL} gives other numbers when it is run again.", "No folder was written.")


def _run(interpreter: Any, given: npt.NDArray[Any]) -> npt.NDArray[Any]:  # noqa: ANN401 - a class of the library
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], given)
    interpreter.invoke()
    made: npt.NDArray[Any] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return made


def _png(picture: npt.NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", picture)[1].tobytes()


def _feeding(manifest: Manifest, interpreter: Any) -> dict[str, Any]:  # noqa: ANN401
    """Returns how pixels become the file's input, and what its output is."""
    spec, output = manifest.input, manifest.output
    ends = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    described = [
        {
            "shape": [int(size) for size in end["shape"]],
            "type": np.dtype(end["dtype"]).name,
            "layout": "nhwc",
            "scale": float(end["quantization"][0]) or None,
            "zero_point": int(end["quantization"][1]),
        }
        for end in ends
    ]
    return {
        "input": {
            **described[0],
            "height": spec.height,
            "width": spec.width,
            "resize": "bilinear or area",
            "color": spec.color,
            "window": spec.frames.model_dump() if spec.frames else None,
            "value": "(pixel * pixel_scale - mean) / std" if spec.kind == "normalized" else "pixel",
            "pixel_scale": spec.scale,
            "mean": list(spec.mean),
            "std": list(spec.std),
        },
        "output": {
            **described[1],
            "kind": output.kind,
            "score_threshold": score_threshold(output) if output.kind == "logits" else None,
            "void": manifest.num_classes,
        },
        "classes": list(manifest.classes),
        "palette": [list(color) for color in manifest.colors],
    }


def _readme(manifest: Manifest, frames: int) -> str:
    spec = manifest.input
    return f"""# A segmentation network for an app

`{MODEL}` is a LiteRT (TensorFlow Lite) file; `{MODEL}.json` tells where it comes from and what it lost.

1. Resize the frame to {spec.width}x{spec.height}, bring its channels into the order {spec.color}, and compute each
   value as `{FEEDING}` says. Where `window` is given, frames have more than 8 bits, and a pixel is
   round((value - low) * 255 / (high - low)), within 0 and 255. Where `scale` is given, the
   file takes integers: round(value / scale) + zero_point.
2. Run the file. Its output has its channels last; the class of a pixel is its largest channel (or the number itself
   where `kind` is classmap; with one channel, the second class where it exceeds `score_threshold`). Names are in
   `{LABELS}`, a line each, from 0.
3. Compare with `{GOLDEN}/`: {frames} frames as pictures, the bytes that went in (`.input.bin`), those that came out
   (`.output.bin`), and the class map (`.classes.png`). Feed the bytes first: if the output is right then, what is left
   to look at is resizing and color.

On Android: `com.google.ai.edge.litert:litert`; on iOS: `LiteRTSwift`. Other processors round sums in another order, so
compare class maps, and expect a few pixels on borders to differ.
"""
