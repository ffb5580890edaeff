"""Runs changed copies of a network on the few frames that lost most, and scores them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from jetseg.data.contract import Split
from jetseg.evaluation.confusion import ConfusionMatrix
from jetseg.manifest import Manifest
from jetseg.onnx.layerwise import Tensor
from jetseg.onnx.quantizers import QUANTIZE
from jetseg.onnx.session import make_session, run_session
from jetseg.postprocess import ClassMap, as_nchw, class_map, class_scores, resize_class_map
from jetseg.preprocess import NetworkInput, Preprocessor

_SCORES = frozenset({onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16})


@dataclass(frozen=True)
class Outcome:
    """What a copy of a network did on the frames.

    Attributes:
        iou: IoU of the class that is looked at, or the mean over classes, in percent; 0 where it is undefined.
        maps: Its class maps.
    """

    iou: float
    maps: tuple[ClassMap, ...]

    def agreement(self, other: Outcome) -> float:
        """Returns the percent of the pixels that have the same class in both."""
        same = [float(np.mean(own == theirs)) for own, theirs in zip(self.maps, other.maps, strict=True)]
        return 100 * float(np.mean(same))


class Trials:
    """Some frames, on which ONNX networks with the same input are scored.

    Args:
        manifest: Of the parent.
        child: Of the child, whose output may be of another kind.
        split: Where the frames are.
        indices: Which ones.
        subject: The class to score; empty for the mean over all.
        threads: Threads of ONNX Runtime.
    """

    def __init__(
        self,
        manifest: Manifest,
        child: Manifest,
        split: Split,
        indices: Sequence[int],
        subject: str,
        threads: int | None,
    ) -> None:
        self.manifest, self.child, self.subject = manifest, child, subject
        self._threads = threads
        self._ignored = split.ignore_index
        preprocess = Preprocessor(manifest.input)
        self._frames: list[tuple[NetworkInput, npt.NDArray[np.uint8]]] = []
        for index in indices:
            sample = split[index]
            if sample.label_hw_u8 is not None:
                self._frames.append((preprocess(sample.image_hwc_u8).copy(), sample.label_hw_u8))

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def inputs(self) -> list[NetworkInput]:
        """What the networks are given, frame by frame."""
        return [values for values, _ in self._frames]

    def run(self, model: onnx.ModelProto) -> Outcome:
        """Scores a network."""
        infer = self._opened(model)
        scores = model.graph.output[0].type.tensor_type.elem_type in _SCORES
        described = next(
            (told for told in (self.manifest, self.child) if (told.output.kind == "logits") == scores), self.manifest
        )
        confusion = ConfusionMatrix(self.manifest.classes, self._ignored)
        maps = []
        for values, label in self._frames:
            ids = class_map(infer(values, {}), described)
            maps.append(ids)
            confusion.update(label, resize_class_map(ids, *label.shape))
        score = confusion.score()
        iou = score.per_class_iou[self.subject] if self.subject else score.miou
        return Outcome(iou or 0.0, tuple(maps))

    def watch(self, model: onnx.ModelProto, tensors: Sequence[str]) -> list[list[Tensor]]:
        """Returns the values that some outputs of a network have, for each one frame by frame."""
        session = self._session(model)
        image = _pick(self.manifest.input.name, [str(value.name) for value in session.get_inputs()])
        found = [run_session(session, list(tensors), {image: values}) for values, _ in self._frames]
        return [list(values) for values in zip(*found, strict=True)]

    def likelihood(self, model: onnx.ModelProto, frames: int) -> Callable[[Mapping[str, Tensor]], float]:
        """Opens a network; returns what tells, given its further inputs, how likely the class is at its own pixels.

        Args:
            model: The network, which gives scores.
            frames: Look at the first frames only.
        """
        infer, number = self._opened(model), self.manifest.classes.index(self.subject)
        spec = self.manifest.output

        def score(further: Mapping[str, Tensor]) -> float:
            found = []
            for values, label in self._frames[:frames]:
                scores = class_scores(as_nchw(infer(values, further), spec)[0], spec).astype(np.float64)
                own = scores[:, resize_class_map(label, *scores.shape[1:]) == number]
                best = own.max(axis=0, initial=-np.inf)
                found.append(own[number] - best - np.log(np.exp(own - best).sum(axis=0)))
            together = np.concatenate(found)
            return float(together.mean()) if len(together) else 0.0

        return score

    def _opened(self, model: onnx.ModelProto) -> Callable[[NetworkInput, Mapping[str, Tensor]], Tensor]:
        session = self._session(model)
        image = _pick(self.manifest.input.name, [str(value.name) for value in session.get_inputs()])
        output = _pick(self.manifest.output.name, [str(value.name) for value in session.get_outputs()])
        return lambda values, further: run_session(session, [output], {image: values, **further})[0]

    def _session(self, model: onnx.ModelProto) -> Any:  # noqa: ANN401 - ONNX Runtime's own
        integers = any(node.op_type == QUANTIZE for node in model.graph.node)
        return make_session(model.SerializeToString(), threads=self._threads, integers=integers)


def _pick(wanted: str | None, names: Sequence[str]) -> str:
    return wanted if wanted in names and wanted is not None else names[0]
