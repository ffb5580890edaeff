"""Runs a network and follows each of its channels from the weights that make it to those that read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from jetseg.compress.channels.notes import Arguments, Labels, tensors_in
from jetseg.compress.channels.operators import propagate
from jetseg.compress.channels.variables import Channels, Ids
from jetseg.errors import ArtifactError
from jetseg.models.stated_sizes import Mode, Statement, StatementsMode, mode_of
from jetseg.models.training_heads import training_heads


@dataclass(frozen=True)
class StatedCall:
    """A call that states sizes, with what it states them of.

    Attributes:
        module: Name of the module whose code it is in.
        mode: Of that module.
        number: Counts such calls in one run of the module.
        statement: The sizes.
        source: Labels of the tensor that it is called on.
        results: Labels of what it returns.
    """

    module: str
    mode: Mode
    number: int
    statement: Statement
    source: Labels
    results: list[Labels]


@dataclass
class ChannelTrace:
    """What a run of a network told about its channels.

    Attributes:
        channels: All channels, and which of them stand or fall together.
        weights: One label per axis of each parameter and saved buffer, by name; names that share a tensor share it.
        calls: All calls that state sizes.
    """

    channels: Channels = field(default_factory=Channels)
    weights: dict[str, tuple[Ids, ...]] = field(default_factory=dict)
    calls: list[StatedCall] = field(default_factory=list)


def trace_channels(module: nn.Module, example_input: Tensor) -> ChannelTrace:
    """Follows the channels of a network, in evaluation and with the auxiliary heads of training.

    Args:
        module: The network; it is not changed.
        example_input: N x C x H x W.

    Raises:
        ArtifactError: The network does not run.
    """
    trace = ChannelTrace()
    labels = _TensorLabels(trace, module)
    was_training = {layer: layer.training for layer in module.modules()}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one operator for a whole layer; no channel is followed there
    try:
        with torch.no_grad():
            module.eval()
            labels.keep_outputs(_run(module, example_input, trace, labels))
            with training_heads(module):
                labels.keep_outputs(_run(module, example_input, trace, labels))
    except Exception as error:  # whatever a foreign network raises
        raise ArtifactError(
            f"The network could not be traced for pruning: {type(error).__name__}: {error}.",
            "Check that its forward runs on one image and returns tensors.",
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for layer, training in was_training.items():
            layer.training = training
    labels.keep_unread()
    trace.channels.settle()
    return trace


def _run(module: nn.Module, example_input: Tensor, trace: ChannelTrace, labels: _TensorLabels) -> Any:  # noqa: ANN401
    calls = _CallsMode(trace, labels)
    with ExitStack() as hooks:
        for name, part in module.named_modules():
            hooks.enter_context(part.register_forward_pre_hook(lambda part, _, name=name: calls.enter(name, part)))
            hooks.enter_context(part.register_forward_hook(lambda *_: calls.leave(), always_call=True))
        with calls, _OperatorsMode(labels):
            return module(example_input)


class _TensorLabels:
    """Labels of all tensors that are alive; the notes that rules of operators read and write."""

    def __init__(self, trace: ChannelTrace, module: nn.Module) -> None:
        self.channels = trace.channels
        self._labels = WeakTensorKeyDictionary()
        self._unread = WeakTensorKeyDictionary()
        for name, tensor in module.state_dict(keep_vars=True).items():
            if tensor not in self._labels:
                self._labels[tensor] = [self.channels.new(size) for size in tensor.shape]
                self._unread[tensor] = True
            trace.weights[name] = tuple(self._labels[tensor])
            for ids in trace.weights[name]:
                if len(ids) == 1:
                    self.channels.keep(ids, "kept: the only one")

    def labels(self, tensor: Tensor) -> Labels:
        """Returns one label per axis; see `Notes`."""
        if tensor in self._unread:
            del self._unread[tensor]
        if tensor not in self._labels:
            return [None] * tensor.ndim
        found = self._labels[tensor]
        return [label if size != 1 else None for label, size in zip(found, tensor.shape, strict=True)]

    def note(self, tensor: Tensor, labels: Sequence[Any]) -> None:
        """Writes labels down; see `Notes`."""
        for label, size in zip(labels, tensor.shape, strict=True):
            if size == 1:
                self.channels.keep(label, "kept: read alone")
            elif label is not None and len(label) != size:
                raise AssertionError(f"label of {len(label)} channels for an axis of {size}")
        self._labels[tensor] = list(labels)

    def fix(self, tensor: Tensor, reason: str) -> None:
        """Says that nothing of a tensor may go."""
        for label in self.labels(tensor):
            self.channels.keep(label, reason)

    def keep_outputs(self, outputs: Any) -> None:  # noqa: ANN401
        """Says that all channels of a network's outputs stay."""
        for tensor in tensors_in([outputs]):
            self.fix(tensor, "kept: makes the output")

    def keep_unread(self) -> None:
        """Says that weights stay that no operator read."""
        for tensor in list(self._unread):
            self.fix(tensor, "kept: did not run")


class _OperatorsMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, labels: _TensorLabels) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._labels = labels

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        del types
        result = func(*args, **(kwargs or {}))
        propagate(self._labels, func, Arguments(func._schema, args, kwargs or {}), result)
        return result


class _CallsMode(StatementsMode):
    """Notes each call that states sizes, and in which run of which module."""

    def __init__(self, trace: ChannelTrace, labels: _TensorLabels) -> None:
        super().__init__()
        self._trace = trace
        self._labels = labels
        self._running: list[tuple[str, nn.Module]] = []
        self._counts: list[int] = []

    def enter(self, name: str, module: nn.Module) -> None:
        self._running.append((name, module))
        self._counts.append(-1)

    def leave(self) -> None:
        self._running.pop()
        self._counts.pop()

    def run(self, stated: Statement, call: partial[Any]) -> Any:  # noqa: ANN401
        """Makes a call and notes it."""
        source = self._labels.labels(call.args[0])
        result = call()
        self._counts = [count + 1 for count in self._counts]
        name, module = self._running[-1]
        results = [self._labels.labels(tensor) for tensor in tensors_in([result])]
        self._trace.calls.append(StatedCall(name, mode_of(module), self._counts[-1], stated, source, results))
        return result
