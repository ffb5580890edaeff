"""A second's proof that a network from elsewhere can go through what comes later, before anything long begins."""

from __future__ import annotations

import logging
from pathlib import Path

import jetseg.models  # isort: skip  # noqa: F401 - says plainly that torch is missing
import torch
from torch import Tensor, nn

from jetseg.compress.config import PruneConfig
from jetseg.errors import ArtifactError, JetsegError, MissingDependencyError
from jetseg.exporters.onnx_export import example_input, export_module
from jetseg.exporters.parity import MAX_RELATIVE_ERROR
from jetseg.manifest import Manifest
from jetseg.models import is_foreign
from jetseg.models.copying import copied
from jetseg.network import load_manifest, open_network
from jetseg.onnx.file import write_onnx
from jetseg.onnx.session import make_session, run_session
from jetseg.progress import task
from jetseg.storage import scratch_folder
from jetseg.training.checkpoint import load_checkpoint, save_checkpoint
from jetseg.training.config import TrainConfig
from jetseg.training.devices import repeatable
from jetseg.training.initialization import resolve, start_network
from jetseg.training.loaders import open_labelled_split
from jetseg.training.losses import SegmentationLoss
from jetseg.training.state import STATE_NAME

_LOG = logging.getLogger(__name__)

_CHECKS = 5
_SAME = 1e-5
"""How far outputs of the same weights may differ, as a fraction of the largest."""
_RATIO = 0.25
"""How much of each layer the trial of pruning removes."""


def probe_before_training(config: TrainConfig) -> None:
    """Probes the network of a run, if it is not one of jetseg's own and the run is not one that goes on.

    Raises:
        JetsegError: The network fails, or what it is made from is wrong.
    """
    if not config.probe or (config.resume and (config.out / STATE_NAME).is_file()):
        return
    factory = config.model if config.init is None else _factory(load_manifest(config.init))
    if not is_foreign(factory):
        return
    resolved = resolve(config)
    with torch.random.fork_rng(devices=[]):
        module, manifest = start_network(resolved, open_labelled_split(resolved.data, resolved.split))
    for note in probe_network(module, manifest, (resolved.crop_height or 0, resolved.crop_width or 0)):
        _LOG.warning(note)


def probe_network(module: nn.Module, manifest: Manifest, crop: tuple[int, int] | None = None) -> tuple[str, ...]:
    """Runs a network through all that comes later, on random images: training, eval, export, saving and pruning.

    Args:
        module: The network with its outputs adapted; it is not changed.
        manifest: Describes it; has `model`.
        crop: Height and width that it is trained at; by default the input's.

    Returns:
        What will not work though the network as such is right, as that its channels cannot be pruned.

    Raises:
        ArtifactError: A step fails or computes something else; it says which and why.
    """
    own, notes = copied(module), []
    with torch.random.fork_rng(devices=[]), scratch_folder("jetseg-probe-") as folder, task("Probing", _CHECKS) as work:
        torch.manual_seed(0)
        _check_training(own, manifest, crop)
        own.zero_grad(set_to_none=True)
        work.update(advance=1)
        images = torch.randn(example_input(manifest.input).shape)
        logits = _check_eval(own.eval().requires_grad_(False), manifest, images)
        work.update(advance=1)
        path = folder / "probe.safetensors"
        save_checkpoint(path, own, manifest)
        _check_same("loaded from its checkpoint", load_checkpoint(path)[0](images), logits)
        work.update(advance=1)
        try:
            _check_same("exported to ONNX", _exported(own, images, path.with_suffix(".onnx")), logits, exact=False)
        except MissingDependencyError as error:
            notes.append(f"Whether it can be exported is not known: {error}")
        work.update(advance=1)
        if (refusal := _try_pruning(path, images, logits.shape)) is not None:
            notes.append(f"Its channels cannot be pruned: {refusal}")
        work.update(advance=1)
    return tuple(notes)


def _factory(manifest: Manifest) -> str:
    return manifest.model.factory if manifest.model else ""


def _check_training(module: nn.Module, manifest: Manifest, crop: tuple[int, int] | None) -> None:
    """Takes one step of training, without the step."""
    spec = manifest.input
    size = crop or (spec.height, spec.width)
    labels = torch.randint(manifest.num_classes, (2, *size))
    try:
        with repeatable(tell=False), torch.enable_grad():
            loss: Tensor = SegmentationLoss(manifest.ignore_index)(
                module.train()(torch.randn(2, spec.channels, *size)), labels
            )
            torch.autograd.backward(loss)
    except JetsegError:
        raise
    except Exception as error:  # whatever a foreign network raises
        raise ArtifactError(
            f"The network cannot be trained: a step on two crops of {size[0]}x{size[1]} pixels ended with "
            f"{type(error).__name__}: {error}.",
            "Correct its forward, or train it at another size.",
        ) from error
    slopes = [weight.grad for weight in module.parameters() if weight.grad is not None]
    if not slopes:
        raise ArtifactError("The network cannot be trained: no weight gets a gradient.", "Look for detach in it.")
    if not all(bool(torch.isfinite(values).all()) for values in (loss.detach(), *slopes)):
        raise ArtifactError(
            f"The network cannot be trained: on random images the loss is {float(loss.detach()):.3g}, and a gradient "
            "is infinite or not a number.",
            "Check its weights and its normalization.",
        )


def _check_eval(module: nn.Module, manifest: Manifest, images: Tensor) -> Tensor:
    logits: Tensor = module(images)
    spec = manifest.input
    if tuple(logits.shape[2:]) != (spec.height, spec.width) or logits.shape[1] < manifest.output.channels:
        raise ArtifactError(
            f"The network's logits have shape {tuple(logits.shape)}, and {manifest.num_classes} classes of "
            f"{spec.height}x{spec.width} pixels are expected.",
            "Correct `classes` and `input` in the manifest, or the options of the network.",
        )
    if not bool(torch.isfinite(logits).all()):
        raise ArtifactError(
            "On random images the network's logits are infinite or not numbers.",
            "Check its weights, and scale, mean and std of the input.",
        )
    again: Tensor = module(images)
    _check_same("run a second time", again, logits)
    return logits


def _exported(module: nn.Module, images: Tensor, path: Path) -> Tensor:
    write_onnx(path, export_module(module, images, "logits"))
    session = make_session(path, threads=1)
    (output,) = run_session(session, ["logits"], {session.get_inputs()[0].name: images.numpy()})
    return torch.from_numpy(output)


def _check_same(how: str, found: Tensor, expected: Tensor, *, exact: bool = True) -> None:
    """Refuses outputs that are not those of the same network."""
    largest = float(expected.abs().max())
    error = float((found.detach() - expected).abs().max()) if found.shape == expected.shape else float("inf")
    if not error <= (_SAME if exact else MAX_RELATIVE_ERROR) * largest:  # a NaN is refused as well
        raise ArtifactError(
            f"The network computes something else when it is {how}: logits differ by up to {error:.3g}, and the "
            f"largest is {largest:.3g}.",
            "Its forward must not draw random numbers in eval mode, and its factory must build the same network "
            "every time; all that it learned must be in its state_dict.",
        )


def _try_pruning(path: Path, images: Tensor, shape: torch.Size) -> str | None:
    """Prunes a little and loads the result; returns why that cannot be done, or None."""
    try:
        from jetseg.compress.prune import prune_network

        pruned = path.with_name("pruned.safetensors")
        prune_network(open_network(path), PruneConfig(ratio=_RATIO, round_to=1, criterion="magnitude"), pruned)
        found = load_checkpoint(pruned)[0](images)
    except JetsegError as error:
        return str(error)
    except Exception as error:  # what pruning met in a foreign network
        _LOG.debug("Pruning failed.", exc_info=True)
        return f"{type(error).__name__}: {error}."
    return None if found.shape == shape else f"it then gives outputs of shape {tuple(found.shape)}."
