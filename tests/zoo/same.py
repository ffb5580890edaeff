"""Compares an exported network with the library's own, without jetseg between: `python -m zoo.same NAME PT ONNX`."""

from __future__ import annotations

import json
import sys

import numpy as np
import onnxruntime
import torch

from jetseg.data.synthetic import CLASSES
from zoo import adapted, networks
from zoo.weights import frames


def main(name: str, weights: str, exported: str) -> int:
    network = getattr(networks, name)(len(CLASSES))
    network.load_state_dict(torch.load(weights))
    wanted = adapted.Logits(network, adapted.main_output(name)).eval()
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    images, _ = frames(4)
    worst, kept, classes = 0.0, [], set()
    for image in images:
        with torch.no_grad():
            right = wanted(image[None]).numpy()
        found = session.run(None, {session.get_inputs()[0].name: image[None].numpy()})[0]
        worst = max(worst, float(np.abs(found - right).max() / np.ptp(right)))
        kept.append(float((found.argmax(1) == right.argmax(1)).mean()))
        classes |= set(np.unique(right.argmax(1)).tolist())
    print(json.dumps({"error": worst, "agreement": 100 * float(np.mean(kept)), "classes": len(classes)}))
    return 0 if worst < 1e-3 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
