"""The calibration stage: dataset in, ranges file out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from jetseg.data.contract import SegmentationDataset
from jetseg.data.fingerprint import dataset_fingerprint
from jetseg.data.specs import open_dataset
from jetseg.errors import CalibrationError, ManifestError
from jetseg.evaluate.accuracy import spread
from jetseg.manifest import Manifest, Stage, load_manifest, save_manifest
from jetseg.onnx.file import save_onnx
from jetseg.onnx.float_graph import load_float_graph
from jetseg.onnx.graph import Graph
from jetseg.onnx.layerwise import Tensor, probe
from jetseg.preprocess import FrameU8, Preprocessor
from jetseg.progress import track
from jetseg.quantization.correct import input_folding
from jetseg.quantization.correct.corrector import Candidate, Correction, Corrector, Outcome
from jetseg.quantization.observe.coverage import coverage
from jetseg.quantization.observe.histogram import StreamingHistogram
from jetseg.quantization.observe.observer import Observed, observe
from jetseg.quantization.observe.range_estimators import Method, choose_range
from jetseg.quantization.qdq.placement import DEFAULT_POLICY, observed_tensors
from jetseg.quantization.ranges import CorrectedNetwork, Policy, Ranges, TensorRange, save_ranges
from jetseg.storage import sha256_file

Preset = Literal["fast", "accurate", "best"]
Target = Literal["tensorrt", "onnxruntime"]
DEFAULT_METHOD: Method = "mse"
DEFAULT_IMAGES = 128
DEFAULT_PRESET: Preset = "accurate"
BEST_METHODS: tuple[Method, ...] = ("mse", "percentile", "entropy")
_HELD_OUT_SHARE = 4
_MOST_HELD_OUT = 16
_MOST_RECONSTRUCTION_FRAMES = 32
_RECONSTRUCTION_BYTES = 800e6
"""Memory for the activations of the frames that weights are reconstructed on; two networks are held at a time."""


class CalibrateConfig(BaseModel):
    """Settings of `run`.

    Attributes:
        model: Float ONNX file.
        data: Dataset spec; its labels are not used.
        split: Split to take images from; the one the network was trained on is right.
        images: How many, spread evenly over the split.
        method: How a range is chosen from a histogram.
        placement: Where symmetric quantizers stand; corrections are made for it.
        preset: "fast" reads the images once and changes nothing. "accurate" tries corrections of the network and
            keeps those that help on held-out images. "best" tries every method with every correction.
        corrections: Corrections to try instead of the preset's.
        targets: Backends to reconstruct weights for; each gets a network of its own, the ranges are the same.
        out: Ranges file to write; a corrected network is written beside it.
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
    placement: Policy = DEFAULT_POLICY
    preset: Preset = DEFAULT_PRESET
    corrections: tuple[Correction, ...] | None = None
    targets: tuple[Target, ...] = Field(default=("tensorrt", "onnxruntime"), min_length=1)
    manifest: Path | None = None
    threads: int | None = Field(default=None, gt=0)

    def allowed(self) -> tuple[Correction, ...]:
        """Returns the corrections to try."""
        if self.corrections is not None:
            return self.corrections
        if self.preset == "fast":
            return ()
        return ("input-folding", "shift", "equalize", "reconstruct")


def run(config: CalibrateConfig) -> Ranges:
    """Watches the network's activations on a dataset, corrects it, and writes the ranges file.

    Memory does not grow with the number of images.

    Raises:
        JetsegError: The network, the manifest or the data is wrong; see the classes in `jetseg.errors`.
    """
    manifest = load_manifest(config.model, config.manifest)
    graph = load_float_graph(config.model)
    dataset = open_dataset(config.data, config.split)
    indices = spread(len(dataset), config.images)
    images = _Images(dataset, indices, manifest, image_input(graph, manifest, config.model))
    seen = images.watch(graph, threads=config.threads, by_channel=bool(config.allowed()))
    method, found = _search(config, graph, seen, images)
    ranges = Ranges(
        method=method,
        frames=len(indices),
        model_sha256=sha256_file(config.model),
        data_sha256=dataset_fingerprint(dataset, indices),
        data=f"{config.data.split(':', 1)[0]} {config.split}",
        preprocessing=manifest.input,
        placement=config.placement,
        networks={
            target: _save_network(config, manifest, target, candidate)
            for target, candidate in found.networks.items()
            if candidate.corrections
        },
        trials=found.trials,
        coverage=coverage(seen.amax_by_frame),
        tensors=next(iter(found.networks.values())).tensors,
    )
    save_ranges(config.out, ranges)
    return ranges


def _search(config: CalibrateConfig, graph: Graph, seen: Observed, images: _Images) -> tuple[Method, Outcome]:
    """Returns the method that did best, and what it found."""
    allowed = config.allowed()
    if not allowed:
        return config.method, Outcome({"tensorrt": Candidate(graph, _ranges(seen, config.method))}, ())
    watch = partial(images.watch, threads=config.threads, by_channel=True)
    frames, held_out = images.divide(graph, config.threads)
    corrector = Corrector(images.manifest, images.input_name, config.placement, watch, frames, held_out, config.threads)
    variants = corrector.variants(graph, seen, allowed)
    found: dict[Method, Outcome] = {
        method: corrector.run(
            variants, partial(_ranges, method=method), config.targets, reconstruct="reconstruct" in allowed
        )
        for method in (BEST_METHODS if config.preset == "best" else (config.method,))
    }
    best = max(found, key=lambda method: max(trial.agreement for trial in found[method].trials))
    return best, found[best]


class _Images:
    """The calibration images, read anew for each pass."""

    def __init__(self, dataset: SegmentationDataset, indices: list[int], manifest: Manifest, input_name: str) -> None:
        self.manifest, self.input_name = manifest, input_name
        self._dataset, self._indices = dataset, indices

    def watch(self, graph: Graph, count: int | None = None, *, threads: int | None, by_channel: bool) -> Observed:
        """Observes a network on all images, or on so many of them, spread evenly."""
        return observe(
            graph,
            observed_tensors(graph),
            self.manifest,
            self.input_name,
            self._frames(count or len(self._indices)),
            threads,
            by_channel=by_channel,
        )

    def divide(
        self, graph: Graph, threads: int | None
    ) -> tuple[list[Mapping[str, Tensor]], list[Mapping[str, Tensor]]]:
        """Returns graph inputs to reconstruct weights on, and others to judge by; the same where there are too few."""
        held_out = self._indices[:: max(_HELD_OUT_SHARE, len(self._indices) // _MOST_HELD_OUT)]
        rest = [index for index in self._indices if index not in set(held_out)] or held_out
        bytes_per_frame = 2 * probe(graph, self._feed(rest[0]), threads).peak_bytes
        count = max(4, min(_MOST_RECONSTRUCTION_FRAMES, int(_RECONSTRUCTION_BYTES // bytes_per_frame)))
        chosen = [rest[position] for position in spread(len(rest), count)]
        return [self._feed(index) for index in chosen], [self._feed(index) for index in held_out[:_MOST_HELD_OUT]]

    def _frames(self, count: int) -> Iterator[FrameU8]:
        chosen = [self._indices[position] for position in spread(len(self._indices), count)]
        for index in track(chosen, "Calibrating"):
            yield self._dataset[index].image_hwc_u8

    def _feed(self, index: int) -> Mapping[str, Tensor]:
        return {self.input_name: Preprocessor(self.manifest.input)(self._dataset[index].image_hwc_u8).copy()}


def _ranges(seen: Observed, method: Method) -> dict[str, TensorRange]:
    return {name: _choose(histogram, method) for name, histogram in seen.histograms.items()}


def _save_network(config: CalibrateConfig, manifest: Manifest, target: str, candidate: Candidate) -> CorrectedNetwork:
    """Writes a corrected network beside the ranges file."""
    path = config.out.with_name(f"{config.out.name.removesuffix('.json')}.{target}.onnx")
    save_onnx(path, candidate.graph.model)
    stage = Stage(name="calibrate", settings={"corrections": list(candidate.corrections), "target": target})
    saved = save_manifest(
        path,
        manifest.model_copy(
            update={
                "kind": "onnx",
                "parent_sha256": sha256_file(config.model),
                "parity": None,
                "accuracy": (),
                "stages": (*manifest.stages, stage),
            }
        ),
    )
    return CorrectedNetwork(file=path.name, sha256=str(saved.sha256))


def _choose(histogram: StreamingHistogram, method: Method) -> TensorRange:
    if histogram.name.endswith(input_folding.SUFFIX):
        return input_folding.RANGE
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


def image_input(graph: Graph, manifest: Manifest, path: Path) -> str:
    """Returns the graph's input that takes the image."""
    wanted = manifest.input.name
    if wanted is None and len(graph.inputs) == 1:
        return graph.inputs[0]
    if wanted in graph.inputs:
        return str(wanted)
    raise ManifestError(
        f"{path} has the inputs {', '.join(graph.inputs)}.", "Name the one to use as `input.name` in the manifest."
    )
