"""Peak memory and time of calibration: flat in the number of images, and as a ratio to the float passes alone.

    python bench/calibration_memory.py NETWORK.onnx --data SPEC [--manifest M] [--images 32 128]

Each measurement is a process of its own; the two kinds alternate.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--images", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--method", default="entropy")
    parser.add_argument("--preset", default="fast", help="fast reads the images once, as other calibrators do")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--inside", choices=["calibrate", "float"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        print(json.dumps(_measure(arguments)))
        return
    for images in arguments.images:
        results: dict[str, list[dict[str, float]]] = {"float": [], "calibrate": []}
        for _ in range(arguments.rounds):
            for kind, found in results.items():
                found.append(_run(arguments, kind, images))
        ratios = [c["cpu_s"] / f["cpu_s"] for c, f in zip(results["calibrate"], results["float"], strict=True)]
        peak = max(found["peak_mb"] for found in results["calibrate"])
        print(
            f"{images:5} images: calibration {_median(results['calibrate'], 'cpu_s'):.1f} s, float passes "
            f"{_median(results['float'], 'cpu_s'):.1f} s, ratio {sorted(ratios)[len(ratios) // 2]:.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}), peak {peak:.0f} MB"
        )


def _median(found: list[dict[str, float]], key: str) -> float:
    return sorted(entry[key] for entry in found)[len(found) // 2]


def _run(arguments: argparse.Namespace, kind: str, images: int) -> dict[str, float]:
    command = [sys.executable, __file__, str(arguments.network), "--data", arguments.data, "--split", arguments.split]
    command += ["--images", str(images), "--method", arguments.method]
    command += ["--preset", arguments.preset, "--inside", kind]
    if arguments.manifest:
        command += ["--manifest", str(arguments.manifest)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    return json.loads(done.stdout)


def _measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Runs inside the measured process; loading of libraries is in the peak, not in the time."""
    from jetseg import calibrate, open_dataset, open_engine, open_network
    from jetseg.evaluation.accuracy import spread
    from jetseg.preprocess import Preprocessor

    images, network = arguments.images[0], open_network(arguments.network, arguments.manifest)
    started = time.process_time()
    if arguments.inside == "calibrate":
        with tempfile.TemporaryDirectory() as folder:
            settings = {"split": arguments.split, "images": images, "method": arguments.method, "threads": 1}
            place = Path(folder) / "ranges.json"
            calibrate(network, data=arguments.data, out=place, preset=arguments.preset, **settings)
    else:
        engine = open_engine(network, threads=1)
        dataset = open_dataset(arguments.data).split(arguments.split)
        preprocess = Preprocessor(engine.manifest.input)
        for index in spread(len(dataset), images):
            engine.infer(preprocess(dataset[index].image_hwc_u8))
    cpu = time.process_time() - started
    return {"cpu_s": cpu, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    main()
