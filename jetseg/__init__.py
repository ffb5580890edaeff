"""jetseg: compress a segmentation network, prove what it lost, run it on a vehicle's camera.

    import jetseg

    net    = jetseg.open_network("student.onnx")
    ranges = jetseg.calibrate(net, data="camvid:data/camvid", images=64)
    built  = jetseg.build_engine(net, ranges=ranges, data="camvid:data/camvid", max_drop=0.5)
    with jetseg.open_engine(built.path) as engine:
        class_map = engine.segment(frame_bgr)

Every name is imported when it is used first: `import jetseg` needs neither NumPy nor ONNX nor torch.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

# OpenCV reads this once, when it is imported; `jetseg.data.image_file` refuses such images before
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "100000000")

_HOMES = {
    "Dataset": "jetseg.data.dataset",
    "Engine": "jetseg.engine.engine",
    "JetsegError": "jetseg.errors",
    "Network": "jetseg.network",
    "Ranges": "jetseg.quantization.ranges",
    "advise": "jetseg.advice.advising",
    "build_engine": "jetseg.workflows.building",
    "calibrate": "jetseg.workflows.calibration",
    "evaluate": "jetseg.workflows.evaluating",
    "explain": "jetseg.workflows.explanation",
    "export": "jetseg.workflows.exporting",
    "factorize": "jetseg.workflows.pruning",
    "import_network": "jetseg.workflows.importing",
    "list_registered": "jetseg.registry",
    "open_dataset": "jetseg.data.dataset",
    "open_engine": "jetseg.workflows.opening",
    "open_network": "jetseg.network",
    "open_ranges": "jetseg.quantization.ranges",
    "predict": "jetseg.workflows.predicting",
    "prune": "jetseg.workflows.pruning",
    "quantization_aware_train": "jetseg.workflows.qat",
    "run_camera": "jetseg.workflows.driving",
    "search": "jetseg.searching.search",
    "train": "jetseg.workflows.training",
}
"""Where each public name is."""

__all__ = [  # noqa: RUF022 - in the order of the work
    "open_network",
    "open_dataset",
    "train",
    "import_network",
    "advise",
    "prune",
    "factorize",
    "export",
    "calibrate",
    "quantization_aware_train",
    "build_engine",
    "open_engine",
    "evaluate",
    "predict",
    "explain",
    "search",
    "run_camera",
    "open_ranges",
    "list_registered",
    "Network",
    "Dataset",
    "Ranges",
    "Engine",
    "JetsegError",
]

if TYPE_CHECKING:
    from jetseg.advice.advising import advise
    from jetseg.data.dataset import Dataset, open_dataset
    from jetseg.engine.engine import Engine
    from jetseg.errors import JetsegError
    from jetseg.network import Network, open_network
    from jetseg.quantization.ranges import Ranges, open_ranges
    from jetseg.registry import list_registered
    from jetseg.searching.search import search
    from jetseg.workflows.building import build_engine
    from jetseg.workflows.calibration import calibrate
    from jetseg.workflows.driving import run_camera
    from jetseg.workflows.evaluating import evaluate
    from jetseg.workflows.explanation import explain
    from jetseg.workflows.exporting import export
    from jetseg.workflows.importing import import_network
    from jetseg.workflows.opening import open_engine
    from jetseg.workflows.predicting import predict
    from jetseg.workflows.pruning import factorize, prune
    from jetseg.workflows.qat import quantization_aware_train
    from jetseg.workflows.training import train


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a class or a function
    """Imports a public name when it is used first."""
    if name not in _HOMES:
        raise AttributeError(f"module 'jetseg' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Lists the public names."""
    return sorted([*__all__, "__version__"])
