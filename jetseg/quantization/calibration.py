"""The calibration stage: network and dataset in, ranges file out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from threadpoolctl import threadpool_limits

from jetseg.artifact_file import save_onnx
from jetseg.data.contract import Split
from jetseg.data.dataset import Dataset, match_input
from jetseg.data.fingerprint import dataset_fingerprint
from jetseg.errors import CalibrationError
from jetseg.evaluation.accuracy import spread
from jetseg.manifest import Manifest, Stage
from jetseg.network import Network
from jetseg.onnx.graph import Graph
from jetseg.onnx.layerwise import Tensor, probe
from jetseg.onnx.session import make_session, run_session
from jetseg.postprocess import task_maps
from jetseg.preprocess import FrameU8, Preprocessor
from jetseg.progress import track
from jetseg.quantization.config import CalibrateConfig, Method
from jetseg.quantization.correct.candidate import CorrectedGraph, Feed, Outcome
from jetseg.quantization.correct.corrector import Corrector
from jetseg.quantization.observe.coverage import coverage
from jetseg.quantization.observe.histogram import StreamingHistogram
from jetseg.quantization.observe.observer import Observed, observe
from jetseg.quantization.observe.range_estimators import choose_range
from jetseg.quantization.qdq.placement import observed_tensors
from jetseg.quantization.ranges import CorrectedNetwork, Ranges, RangesRecord, TensorRange, corrected_path, save_ranges
from jetseg.storage import writing

BEST_METHODS: tuple[Method, ...] = ("mse", "percentile", "entropy")
_HELD_OUT_SHARE = 4
_MOST_HELD_OUT = 16
_MOST_RECONSTRUCTION_FRAMES = 16
_RECONSTRUCTION_BYTES = 190e6
"""Memory for the activations of the frames that weights are reconstructed on; two networks are held at a time."""


def calibrate(network: Network, dataset: Dataset, config: CalibrateConfig, out: Path) -> Ranges:
    """Watches a network's activations on a dataset, corrects the network, and writes the ranges file.

    Memory does not grow with the number of images.

    Args:
        network: Float ONNX file.
        dataset: Frames; their labels are not used.
        config: Settings.
        out: Ranges file to write; a corrected network is written beside it.

    Raises:
        JetsegError: The network, the manifest or the data is wrong; see the classes in `jetseg.errors`.
    """
    with writing(out):
        record = _calibrated(network, dataset, config, out)
        return save_ranges(out, network, record)


def _calibrated(network: Network, dataset: Dataset, config: CalibrateConfig, out: Path) -> RangesRecord:
    graph, split = network.float_graph(), match_input(dataset.split(config.split), network.manifest.input)
    indices = spread(len(split), config.images)
    images = _Images(split, indices, network.manifest, network.image_input)
    images.check_output(graph, config.threads)
    with threadpool_limits(1, user_api="blas"):  # its threads spin between small products, and take whole cores
        method, found = _search(config, graph, images)
    return RangesRecord(
        method=method,
        frames=len(indices),
        model_sha256=network.sha256,
        data_sha256=dataset_fingerprint(split, indices),
        data=f"{dataset.name} {config.split}",
        preprocessing=network.manifest.input,
        placement=config.placement,
        networks={
            target: _save_network(network, target, candidate, out)
            for target, candidate in found.networks.items()
            if candidate.corrections
        },
        trials=found.trials,
        coverage=coverage(found.observed.amax_by_frame),
        tensors=next(iter(found.networks.values())).tensors,
    )


def _search(config: CalibrateConfig, graph: Graph, images: _Images) -> tuple[Method, Outcome]:
    """Returns the method that did best, and what it found."""
    allowed = config.allowed()
    if not allowed:
        seen = images.watch(graph, threads=config.threads, by_channel=False)
        return config.method, Outcome({"tensorrt": CorrectedGraph(graph, _ranges(seen, config.method))}, seen)
    watch = partial(images.watch, threads=config.threads, by_channel=True)
    frames, held_out = images.divide(graph, config.threads)
    corrector = Corrector(
        images.manifest,
        images.input_name,
        config.placement,
        watch,
        frames,
        held_out,
        config.threads,
        frozenset(config.keep_float),
    )
    variants = corrector.variants(graph, allowed)
    found: dict[Method, Outcome] = {
        method: corrector.run(
            variants,
            partial(_ranges, method=method),
            config.targets,
            reconstruct="reconstruct" in allowed,
            rescale="rescale" in allowed,
        )
        for method in (BEST_METHODS if config.preset == "best" else (config.method,))
    }
    best = max(found, key=lambda method: max(trial.agreement for trial in found[method].trials))
    return best, found[best]


class _Images:
    """The calibration images, read anew for each pass."""

    def __init__(self, dataset: Split, indices: list[int], manifest: Manifest, input_name: str) -> None:
        self.manifest, self.input_name = manifest, input_name
        self._dataset, self._indices = dataset, indices

    def check_output(self, graph: Graph, threads: int | None) -> None:
        """Runs the network on one image, since a file need not tell the shape of its output.

        Raises:
            ManifestError: The output is not what the manifest says.
        """
        if self._indices:
            names = [output.name or graph.outputs[0] for output in self.manifest.outputs]
            session = make_session(graph.model.SerializeToString(), threads=threads, arena=False)
            task_maps(run_session(session, names, dict(self._feed(self._indices[0]))), self.manifest)

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

    def divide(self, graph: Graph, threads: int | None) -> tuple[list[Feed], list[Feed]]:
        """Returns graph inputs to reconstruct weights on, and others to judge by; the same where there are too few."""
        held_out = self._indices[:: max(_HELD_OUT_SHARE, len(self._indices) // _MOST_HELD_OUT)]
        rest = [index for index in self._indices if index not in set(held_out)] or held_out
        bytes_per_frame = 2 * probe(graph, self._feed(rest[0]), threads).peak_bytes
        count = max(4, min(_MOST_RECONSTRUCTION_FRAMES, int(_RECONSTRUCTION_BYTES // bytes_per_frame)))
        chosen = [rest[position] for position in spread(len(rest), count)]
        return [partial(self._feed, index) for index in chosen], [
            partial(self._feed, index) for index in held_out[:_MOST_HELD_OUT]
        ]

    def _frames(self, count: int) -> Iterator[FrameU8]:
        chosen = [self._indices[position] for position in spread(len(self._indices), count)]
        for index in track(chosen, "Calibrating"):
            yield self._dataset[index].image_hwc_u8

    def _feed(self, index: int) -> Mapping[str, Tensor]:
        return {self.input_name: Preprocessor(self.manifest.input)(self._dataset[index].image_hwc_u8).copy()}


def _ranges(seen: Observed, method: Method) -> dict[str, TensorRange]:
    return {name: _choose(histogram, method) for name, histogram in seen.histograms.items()}


def _save_network(network: Network, target: str, candidate: CorrectedGraph, ranges_file: Path) -> CorrectedNetwork:
    """Writes a corrected network beside the ranges file, named after its content: an earlier one stays until then."""
    digest = hashlib.sha256(candidate.graph.model.SerializeToString()).hexdigest()
    path = corrected_path(ranges_file, target, digest)
    stage = Stage(name="calibrate", settings={"corrections": list(candidate.corrections), "target": target})
    derived = network.manifest.derive(stage, kind="onnx", parent_sha256=network.sha256)
    saved = save_onnx(path, candidate.graph.model, derived)
    return CorrectedNetwork(file=path.name, sha256=str(saved.sha256))


def _choose(histogram: StreamingHistogram, method: Method) -> TensorRange:
    chosen = choose_range(histogram, method)
    if chosen.amax == 0.0 and histogram.reach > 0.0:
        raise CalibrationError(
            f"Method {method} leaves no range for tensor {histogram.name}.", "Choose another method."
        )
    return chosen
