"""Runs every benchmark on a Fast-SCNN with random weights at 480x360: speed and memory do not depend on training.

python bench/run_all.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from jetseg.data.synthetic.classes import CLASSES
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest, ModelSpec
from jetseg.models import create_model
from jetseg.output_spec import OutputSpec
from jetseg.training.checkpoint import save_checkpoint
from jetseg.workflows.building import build_engine
from jetseg.workflows.exporting import export

BENCH = Path(__file__).parent
OPEN = {"max_drop": 100.0, "max_class_drop": 100.0}  # random weights have no accuracy to lose


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        network = _network(Path(folder))
        engine = Path(folder) / "fast_scnn.int8.onnx"
        build_engine(network, data="synthetic:16", images=16, preset="fast", out=engine, **OPEN)
        for title, command in (
            ("mIoU update against torchmetrics", ["miou_update.py"]),
            ("Calibration: memory and time", ["calibration_memory.py", str(network), "--data", "synthetic:128"]),
            (
                "Entropy calibration against onnxruntime",
                ["calibrators.py", str(network), "--data", "synthetic:16", "--images", "16"],
            ),
            ("Camera loop against the bare engine", ["camera_loop.py", str(engine), "--threads", "1"]),
            ("Camera loop with a dashboard and hostile clients", ["dashboard.py", str(engine), "--threads", "1"]),
        ):
            print(f"\n== {title}", flush=True)
            subprocess.run([sys.executable, str(BENCH / command[0]), *command[1:]], check=True)


def _network(folder: Path) -> Path:
    torch.manual_seed(0)
    checkpoint, network = folder / "fast_scnn.safetensors", folder / "fast_scnn.onnx"
    module = create_model("fast-scnn", len(CLASSES)).eval()
    spec = InputSpec(height=360, width=480, scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    outputs, model = (OutputSpec(classes=CLASSES),), ModelSpec(factory="fast-scnn")
    save_checkpoint(checkpoint, module, Manifest(kind="checkpoint", outputs=outputs, input=spec, model=model))
    return export(checkpoint, out=network).path


if __name__ == "__main__":
    main()
