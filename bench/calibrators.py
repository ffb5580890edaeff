"""CPU time and peak memory of INT8 calibrators on the same images: jetseg's, onnxruntime's and modelopt's.

jetseg runs with its default settings, corrections included, and without them by entropy, as the other two do.

    python bench/calibrators.py NETWORK.onnx --data SPEC [--images 128] [--modelopt-python mo/bin/python]

modelopt wants other versions than jetseg, so it gets an environment of its own:

    python -m venv mo && mo/bin/pip install "nvidia-modelopt[onnx]" torch

Each measurement is a process of its own on one processor; the calibrators take turns. onnxruntime and modelopt read
images that are preprocessed already, jetseg decodes and preprocesses the dataset's files. Threshold search included.
The ratios are those of jetseg's default settings.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

JETSEG, FAST = "jetseg", "jetseg fast"


def main() -> None:
    if "--inside" in sys.argv:
        print(json.dumps(_measure(*sys.argv[sys.argv.index("--inside") + 1 :])))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--only", nargs="+", help="Calibrators to run, of those that are printed.")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--modelopt-python", help="Python of an environment with modelopt; left out without it.")
    arguments = parser.parse_args()
    _print_search_time()
    pythons = dict.fromkeys((JETSEG, FAST, "onnxruntime"), sys.executable) | {"modelopt": arguments.modelopt_python}
    wanted = arguments.only or list(pythons)
    pythons = {name: python for name, python in pythons.items() if python and name in wanted}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in pythons}
    with tempfile.TemporaryDirectory() as folder:
        _prepare(arguments, Path(folder))
        for _ in range(arguments.rounds):
            for name, python in pythons.items():
                found[name].append(_run(python, name, arguments, folder))
    for name, runs in found.items():
        cpu, peak = (statistics.median(run[key] for run in runs) for key in ("cpu_s", "peak_mb"))
        line = f"{name:12} {cpu:7.1f} s CPU, peak {peak:7.0f} MB"
        if name != JETSEG and JETSEG in found:
            ratios = {
                key: [own[key] / run[key] for own, run in zip(found[JETSEG], runs, strict=True)] for key in runs[0]
            }
            line += f"; jetseg takes {_spread(ratios['cpu_s'])} of its time, {_spread(ratios['peak_mb'])} of its memory"
        print(line, flush=True)


def _spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def _print_search_time(count: int = 100) -> None:
    import numpy as np

    from jetseg.quantization.observe.histogram import StreamingHistogram
    from jetseg.quantization.observe.range_estimators import choose_range

    rng = np.random.default_rng(0)
    histograms = [StreamingHistogram(str(number)) for number in range(count)]
    for histogram in histograms:
        histogram.update(rng.laplace(size=100_000).astype(np.float32))
    started = time.process_time()
    for histogram in histograms:
        choose_range(histogram, "entropy")
    print(f"Entropy search alone, {count} tensors: {time.process_time() - started:.2f} s")


def _prepare(arguments: argparse.Namespace, folder: Path) -> None:
    """Writes the preprocessed images for the peers."""
    import numpy as np

    from jetseg.data.dataset import open_split
    from jetseg.evaluation.accuracy import spread
    from jetseg.network import load_manifest
    from jetseg.preprocess import Preprocessor

    dataset = open_split(arguments.data, arguments.split)
    preprocess = Preprocessor(load_manifest(arguments.network, arguments.manifest).input)
    for number, index in enumerate(spread(len(dataset), arguments.images)):
        np.save(folder / f"{number:06}.npy", preprocess(dataset[index].image_hwc_u8))


def _run(python: str, name: str, arguments: argparse.Namespace, folder: str) -> dict[str, float]:
    inside = ["--inside", name, str(arguments.network), folder, arguments.data, arguments.split, str(arguments.images)]
    inside.append(str(arguments.manifest or ""))
    done = subprocess.run([python, __file__, *inside], check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _measure(
    name: str, network: str, folder: str, data: str, split: str, images: str, manifest: str
) -> dict[str, float]:
    """Runs inside the measured process; loading of libraries is in the peak, not in the time."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if name in (JETSEG, FAST):
        calibrate = _jetseg(network, data, manifest, split=split, images=int(images), fast=name == FAST)
    else:
        calibrate = {"onnxruntime": _onnxruntime, "modelopt": _modelopt}[name](network, folder)
    started = time.process_time()
    calibrate()
    cpu = time.process_time() - started
    return {"cpu_s": cpu, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _jetseg(network: str, data: str, manifest: str, *, fast: bool, **settings: Any) -> Callable[[], Any]:
    from jetseg import calibrate, open_network

    out = tempfile.TemporaryDirectory()  # lives as long as the process
    opened = open_network(network, manifest or None)
    settings |= {"method": "entropy", "preset": "fast"} if fast else {}
    return lambda: calibrate(opened, data=data, out=Path(out.name) / "ranges.json", threads=1, **settings)


def _onnxruntime(network: str, folder: str) -> Callable[[], Any]:
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    def calibrate() -> Any:
        calibrator = create_calibrator(
            network, augmented_model_path=f"{folder}/augmented.onnx", calibrate_method=CalibrationMethod.Entropy
        )
        calibrator.collect_data(_reader(network, folder))
        return calibrator.compute_data()

    return calibrate


def _modelopt(network: str, folder: str) -> Callable[[], Any]:
    from modelopt.onnx.quantization import quantize

    copy = shutil.copyfile(network, f"{folder}/copy.onnx")  # modelopt writes shapes into the file that it is given
    return lambda: quantize(
        str(copy),
        quantize_mode="int8",
        calibration_method="entropy",
        calibration_data_reader=_reader(network, folder),
        calibration_eps=["cpu"],
        high_precision_dtype="fp32",
        output_path=f"{folder}/modelopt.onnx",
        log_level="ERROR",
    )


def _reader(network: str, folder: str) -> Any:
    import numpy as np
    import onnx
    from onnxruntime.quantization.calibrate import CalibrationDataReader

    name = onnx.load(network, load_external_data=False).graph.input[0].name

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._files = iter(sorted(Path(folder).glob("0*.npy")))

        def get_next(self) -> dict[str, Any] | None:
            file = next(self._files, None)
            return None if file is None else {name: np.load(file)}

    return Reader()


if __name__ == "__main__":
    main()
