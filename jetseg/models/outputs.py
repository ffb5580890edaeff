"""What a network returns, brought to one form: logits of the input's size, and in training auxiliary ones beside them.

Networks from elsewhere return dictionaries, tuples, lists, or objects with fields; each tensor in there has a place:
its key or position, of nested ones joined by dots, as in "out", "0" or "heads.1".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from jetseg.config import changed
from jetseg.errors import ArtifactError
from jetseg.manifest import Manifest, ModelSpec
from jetseg.models.layers import resize_like
from jetseg.models.training_heads import training_heads
from jetseg.output_shape import in_proportion

_ALONE = ""
"""The place of a tensor that is returned as it is."""
_USUAL_KEYS = ("logits", "out")
"""What transformers and torchvision call the main output."""


def adapt_outputs_(module: nn.Module, spec: ModelSpec) -> nn.Module:
    """Makes a network return one tensor, N x C x H x W; in training, a tuple with auxiliary logits if it has some.

    Names of weights and layers stay as they are: the outputs are changed by a hook.

    Args:
        module: As its factory builds it.
        spec: Says where the logits are; see `find_outputs`. With several `heads`, the scores of all tasks are joined
            along the channels, in both modes; see `outputs_apart`.
    """
    module.register_forward_hook(_Joiner(spec.heads) if spec.heads else _Adapter(spec.output, spec.train_output))
    return module


@contextmanager
def outputs_apart(module: nn.Module) -> Iterator[None]:
    """Lets a network of several tasks return a tuple of their scores, as for an export, where nothing is joined."""
    joiners = [hook for hook in module._forward_hooks.values() if isinstance(hook, _Joiner)]
    for joiner in joiners:
        joiner.apart = True
    try:
        yield
    finally:
        for joiner in joiners:
            joiner.apart = False


def find_heads(module: nn.Module, manifest: Manifest) -> ModelSpec:
    """Finds out where the scores of each task are: at the place of the output's name, or in the order of the outputs.

    Args:
        module: As its factory builds it; its weights and mode stay as they are.
        manifest: Tells input and outputs; has `model`.

    Returns:
        `manifest.model` with the places.

    Raises:
        ArtifactError: The network does not run, or an output is missing or has another shape; those that exist are
            listed.
    """
    if manifest.model is None:
        raise TypeError("the manifest of a network to build has a `model`")
    spec = manifest.input
    images = torch.randn((1, spec.channels, spec.height, spec.width), generator=torch.Generator().manual_seed(0))
    with _frozen(module):
        found = _run(module.eval(), images.to(next(module.parameters(), images).device))
    names = [output.label for output in manifest.outputs]
    if not set(names) & set(found) and len(found) == len(names):
        names = list(found)  # a tuple or a list
    for place, task in zip(names, manifest.tasks, strict=True):
        _Form(task, type(module).__name__).choose(found, place, dict)
    return changed(manifest.model, heads=tuple(names))


def find_outputs(module: nn.Module, manifest: Manifest, output: str | None = None) -> ModelSpec:
    """Finds out where a network's logits are, by running it in both modes on random input.

    In eval mode that is the one tensor whose shape fits the input and the classes; of several in a dictionary the one
    that is named as usual; of several in a sequence the first, if it hangs on at least as many of the weights as each
    other does. In training mode it is the one that has the same values, where what depends on chance is frozen.

    Args:
        module: As its factory builds it; its weights and mode stay as they are.
        manifest: Tells input and classes; has `model`.
        output: The place, if it is known.

    Returns:
        `manifest.model` with the places.

    Raises:
        ArtifactError: The network does not run, or it cannot be told where the logits are; all outputs are listed.
    """
    if manifest.model is None:
        raise TypeError("the manifest of a network to build has a `model`")
    spec = manifest.input
    shape = (1, spec.channels, spec.height, spec.width)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    images = images.to(next(module.parameters(), images).device)
    with _frozen(module):
        form = _Form(manifest, type(module).__name__)
        returned = _run(module.eval(), images)
        place = form.choose(returned, output, lambda: _weights_behind(module, images))
        with training_heads(module):
            trained = form.match(_run(module, images), returned[place], place)
    return changed(manifest.model, output=place or None, train_output=trained or None)


def leaves(returned: Any) -> dict[str, Tensor]:  # noqa: ANN401 - whatever a network returns
    """Returns every tensor in what a network returned, by its place.

    >>> list(leaves({"out": torch.zeros(1), "aux": [torch.zeros(1), None, torch.zeros(1)]}))
    ['out', 'aux.0', 'aux.2']
    """
    if isinstance(returned, Tensor):
        return {_ALONE: returned}
    if isinstance(returned, Mapping):
        parts = [(str(key), value) for key, value in returned.items()]
    elif isinstance(returned, tuple | list):
        parts = [(str(index), value) for index, value in enumerate(returned)]
    elif is_dataclass(returned):
        parts = [(field.name, getattr(returned, field.name)) for field in fields(returned)]
    else:
        return {}
    return {
        f"{place}.{inner}" if inner else place: value for place, part in parts for inner, value in leaves(part).items()
    }


@dataclass
class _Joiner:
    """The hook of a network of several tasks: resizes the scores of each to the input, and joins them."""

    heads: tuple[str, ...]
    apart: bool = False

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], returned: Any) -> Any:  # noqa: ANN401
        found = leaves(returned)
        lacking = [head for head in self.heads if head not in found]
        if lacking:
            raise ArtifactError(
                f"{type(module).__name__} returned {_listed(found)}, and its scores are expected at "
                f"{', '.join(map(repr, self.heads))}.",
                "Let its forward return the same in training mode and in eval mode.",
            )
        scores = tuple(resize_like(found[head], inputs[0]) for head in self.heads)
        return scores if self.apart else torch.cat(scores, dim=1)


@dataclass(frozen=True)
class _Adapter:
    """The hook: picks the logits, resizes them to the input, and in training keeps the heads that are like them."""

    output: str | None
    train_output: str | None

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], returned: Any) -> Any:  # noqa: ANN401
        found = leaves(returned)
        place = self.train_output if module.training else self.output
        if place is None:  # alone; in training, the first of several
            place = next(iter(found), _ALONE) if module.training else _ALONE
        if place not in found:
            mode = "training" if module.training else "eval"
            raise ArtifactError(
                f"{type(module).__name__} returned {_listed(found)} in {mode} mode, and its logits are expected "
                + (f"at {place!r}." if place else "alone."),
                "Import or train it again, so that its outputs are found anew.",
            )
        main = found.pop(place)
        if inputs and isinstance(inputs[0], Tensor):
            main = resize_like(main, inputs[0])
        heads = [head for head in found.values() if _alike(head, main)] if module.training else []
        return (main, *heads) if heads else main


def _alike(head: Tensor, main: Tensor) -> bool:
    return head.ndim == main.ndim == 4 and head.is_floating_point() and head.shape[:2] == main.shape[:2]


@dataclass(frozen=True)
class _Form:
    """What logits must look like, and how they are told from other outputs."""

    manifest: Manifest
    name: str

    def choose(
        self, found: dict[str, Tensor], wanted: str | None, weights_behind: Callable[[], dict[str, set[int]]]
    ) -> str:
        """Returns the place of the logits in what the network returned in eval mode."""
        if wanted is not None:
            return self._checked(found, wanted)
        if len(found) == 1:
            return self._checked(found, next(iter(found)))
        fitting = [place for place, values in found.items() if self._misfit(values) is None]
        exact = [place for place in fitting if found[place].shape[1] == self.manifest.output.channels]
        candidates = exact or fitting
        named = [place for place in candidates if place.rpartition(".")[2] in _USUAL_KEYS]
        if len(candidates) == 1 or len(named) == 1:
            return (named or candidates)[0]
        if not candidates or not candidates[0].rpartition(".")[2].isdigit():
            raise self._unclear(found, "none of them looks like logits" if not candidates else "several could be them")
        fed, first = weights_behind(), candidates[0]
        deeper = [place for place in candidates if len(fed[place] - fed[first]) > len(fed[first] - fed[place])]
        if deeper:
            raise self._unclear(found, f"{first!r} comes first, but more of the weights lead to {deeper[0]!r}")
        return first

    def match(self, found: dict[str, Tensor], main: Tensor, place: str) -> str:
        """Returns the place of the logits in what the network returned in training mode."""
        alike = [other for other, values in found.items() if _alike(values, main) and values.shape == main.shape]
        if not alike:
            expected = tuple(main.shape[1:])
            raise ArtifactError(
                f"In training mode {self.name} returned {_listed(found)}, and none has the shape of the logits that "
                f"it gives in eval mode, {'x'.join(map(str, expected))}.",
                "Let its forward return the logits in both modes.",
            )
        span = float(main.abs().max()) or 1.0
        same = [other for other in alike if float((found[other] - main).abs().max()) <= 1e-4 * span]
        if same:
            return same[0]
        return place if place in alike else alike[0]

    def _checked(self, found: dict[str, Tensor], place: str) -> str:
        if place not in found:
            what = "one tensor, which needs no choice" if _ALONE in found else _listed(found)
            raise ArtifactError(
                f"{self.name} has no output {place!r}: it returned {what}.",
                "Leave `output` out." if _ALONE in found else f"Give `output` as one of {_quoted(found)}.",
            )
        misfit = self._misfit(found[place])
        if misfit is not None:
            raise ArtifactError(
                f"{self.name} returned {_shape(found[place])}{f' as {place!r}' if place else ''}: {misfit[0]}.",
                misfit[1],
            )
        return place

    def _misfit(self, values: Tensor) -> tuple[str, str] | None:
        """Returns what keeps a tensor from being the logits and what to do, or None if it can be them."""
        spec, classes = self.manifest.input, self.manifest.output.channels
        wanted = f"logits are N x {classes} x {spec.height} x {spec.width}, or smaller by the same factor"
        advice = "Let its forward return them so, or correct `classes` and `input` in the manifest."
        sparse = values.layout is not torch.strided
        if sparse or not values.is_floating_point():
            kind = "sparse" if sparse else "whole numbers, as of a class map"
            return f"these are {kind}, and logits are needed", "Return what the argmax sees."
        if values.ndim != 4:
            return wanted, advice
        _, channels, height, width = values.shape
        if in_proportion(height, width, spec):
            if channels >= classes:
                return None
            return f"{channels} channels are too few for {classes} classes", "Build it for as many classes as it has."
        if values.shape[3] == classes and in_proportion(channels, height, spec):
            return "channels come last", "Let its forward return logits.permute(0, 3, 1, 2)."
        return wanted, advice

    def _unclear(self, found: dict[str, Tensor], why: str) -> ArtifactError:
        return ArtifactError(
            f"{self.name} returned {len(found)} outputs, {_listed(found)}: {why}.",
            f"Say by `output` which holds the logits of {self.manifest.num_classes} classes: {_quoted(found)}."
            if found
            else "Let its forward return a tensor, N x C x H x W.",
        )


def _run(module: nn.Module, images: Tensor) -> dict[str, Tensor]:
    try:
        return leaves(module(images))
    except (Exception, SystemExit) as error:  # whatever a foreign network raises
        mode = "training" if module.training else "eval"
        raise ArtifactError(
            f"{type(module).__name__} does not run in {mode} mode on a batch of {_shape(images)}: "
            f"{type(error).__name__}: {error}.",
            "Correct its forward, its options, or `input` in the manifest.",
        ) from error


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Leaves modes and random numbers as they were."""
    modes = {part: part.training for part in module.modules()}
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            yield
    finally:
        for part, training in modes.items():
            part.training = training


def _weights_behind(module: nn.Module, images: Tensor) -> dict[str, set[int]]:
    """Returns which weights each output depends on."""
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    behind: dict[str, set[int]] = {}
    with torch.enable_grad():
        for place, values in _run(module, images).items():
            slopes: Sequence[Tensor | None] = ()
            if values.requires_grad:
                slopes = torch.autograd.grad(values.sum(), weights, retain_graph=True, allow_unused=True)
            behind[place] = {index for index, slope in enumerate(slopes) if slope is not None}
    return behind


def _listed(found: Mapping[str, Tensor]) -> str:
    if _ALONE in found:
        return f"one tensor {_shape(found[_ALONE])}"
    return ", ".join(f"{place!r} {_shape(values)}" for place, values in found.items()) or "no tensor"


def _quoted(found: Mapping[str, Tensor]) -> str:
    return ", ".join(found)


def _shape(values: Tensor) -> str:
    return "x".join(map(str, values.shape)) or "a single number"
