"""The calibration stage: dataset in, ranges file out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from jetseg.calibrate.collect import collect
from jetseg.calibrate.graph import FloatGraph, load_float_graph
from jetseg.calibrate.histogram import StreamingHistogram
from jetseg.calibrate.placement import observed_tensors
from jetseg.calibrate.ranges import Ranges, TensorRange, save_ranges
from jetseg.calibrate.thresholds import Method, choose_range
from jetseg.data.contract import SegmentationDataset
from jetseg.data.fingerprint import dataset_fingerprint
from jetseg.data.specs import open_dataset
from jetseg.errors import CalibrationError, ManifestError
from jetseg.evaluate.accuracy import spread
from jetseg.manifest import Manifest, load_manifest
from jetseg.preprocess import FrameU8
from jetseg.progress import track
from jetseg.storage import sha256_file

DEFAULT_METHOD: Method = "percentile"
DEFAULT_IMAGES = 128


class CalibrateConfig(BaseModel):
    """Settings of `run`.

    Attributes:
        model: Float ONNX file.
        data: Dataset spec; its labels are not used.
        split: Split to take images from; the one the network was trained on is right.
        images: How many, spread evenly over the split.
        method: How a range is chosen from a histogram.
        out: Ranges file to write.
        manifest: Manifest elsewhere than beside the model.
        threads: Threads of ONNX Runtime.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Path
    data: str
    out: Path
    split: str = "train"
    images: int = Field(default=DEFAULT_IMAGES, gt=0)
    method: Method = DEFAULT_METHOD
    manifest: Path | None = None
    threads: int | None = Field(default=None, gt=0)


def run(config: CalibrateConfig) -> Ranges:
    """Watches the network's activations on a dataset, chooses their ranges and writes the ranges file.

    Memory does not grow with the number of images.

    Raises:
        JetsegError: The network, the manifest or the data is wrong; see the classes in `jetseg.errors`.
    """
    manifest = load_manifest(config.model, config.manifest)
    graph = load_float_graph(config.model)
    dataset = open_dataset(config.data, config.split)
    indices = spread(len(dataset), config.images)
    histograms = collect(
        graph,
        observed_tensors(graph),
        manifest,
        _image_input(graph, manifest, config.model),
        _frames(dataset, indices),
        config.threads,
    )
    ranges = Ranges(
        method=config.method,
        frames=len(indices),
        model_sha256=sha256_file(config.model),
        data_sha256=dataset_fingerprint(dataset, indices),
        data=f"{config.data.split(':', 1)[0]} {config.split}",
        preprocessing=manifest.input,
        tensors={name: _choose(histogram, config.method) for name, histogram in histograms.items()},
    )
    save_ranges(config.out, ranges)
    return ranges


def _frames(dataset: SegmentationDataset, indices: list[int]) -> Iterator[FrameU8]:
    for index in track(indices, "Calibrating"):
        yield dataset[index].image_hwc_u8


def _choose(histogram: StreamingHistogram, method: Method) -> TensorRange:
    chosen = choose_range(histogram, method)
    if chosen.amax == 0.0 and histogram.reach > 0.0:
        raise CalibrationError(
            f"Method {method} leaves no range for tensor {histogram.name}.", "Choose another method."
        )
    return TensorRange(
        low=chosen.low,
        high=chosen.high,
        amax=chosen.amax,
        seen_low=histogram.low,
        seen_high=histogram.high,
    )


def _image_input(graph: FloatGraph, manifest: Manifest, path: Path) -> str:
    """Returns the graph's input that takes the image."""
    wanted = manifest.input.name
    if wanted is None and len(graph.inputs) == 1:
        return graph.inputs[0]
    if wanted in graph.inputs:
        return str(wanted)
    raise ManifestError(
        f"{path} has the inputs {', '.join(graph.inputs)}.", "Name the one to use as `input.name` in the manifest."
    )
