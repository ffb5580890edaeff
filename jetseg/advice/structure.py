"""Makes the float network of a plan, without the training that would repair it: as fast as the real one will be."""

from __future__ import annotations

from pathlib import Path

import jetseg.models  # isort: skip  # noqa: F401 - says plainly that torch is missing
import torch
from torch import nn

from jetseg.advice.frames import batches_of
from jetseg.advice.plan import Plan
from jetseg.advice.workbench import Workbench
from jetseg.artifact_file import save_onnx
from jetseg.compress.batch_norms import reestimate_
from jetseg.compress.config import FactorizeConfig, PruneConfig
from jetseg.compress.factorize import factorize
from jetseg.compress.prune import prune_network
from jetseg.compress.two_four import prune_two_four
from jetseg.engine.layer_timer import LayerTimer
from jetseg.exporters.onnx_export import example_input, export_module
from jetseg.models.registry import create_model
from jetseg.network import Network, open_network
from jetseg.onnx.upsampling import without_last_upsampling
from jetseg.training.checkpoint import load_checkpoint

_IMAGES = 32
"""Frames that batch norms are estimated on anew."""
SCORING_BATCHES = 4
"""Batches that channels are scored on; the recipe has the same, so that it removes the same ones."""


def export_plan(bench: Workbench, plan: Plan, place: Path) -> Network:
    """Builds the network of a plan and exports it."""
    module, manifest = make_module(bench, plan), bench.sized(plan)
    model = export_module(module.eval(), example_input(manifest.input), "logits")
    if plan.stride is not None:
        model = without_last_upsampling(model)
    save_onnx(place, model, manifest.changed(kind="onnx", parity=None))
    return open_network(place)


def make_module(bench: Workbench, plan: Plan) -> nn.Module:
    """Returns the network of a plan, its batch norms estimated anew where layers were changed.

    Raises:
        ConfigError: Nothing can be pruned, or low rank pays for no layer.
    """
    if plan.instead is not None:
        torch.manual_seed(bench.config.seed)
        return create_model(plan.instead, bench.manifest.output.channels, bench.manifest.input.channels).eval()
    module = bench.module if plan.prune_ratio is None else load_checkpoint(pruned_checkpoint(bench, plan))[0]
    if plan.energy is not None:
        module, _ = factorize(
            module,
            low_rank_settings(bench, plan.energy),
            example_input(bench.sized(Plan()).input),
            LayerTimer(bench.config.backend, "fp32", bench.config.threads),
        )
    if plan.two_four:
        module, _ = prune_two_four(module)
    if plan.prune_ratio is not None or plan.energy is not None or plan.two_four:
        reestimate_(module, batches_of(bench, bench.config.split, _IMAGES))
    return module


def pruned_checkpoint(bench: Workbench, plan: Plan) -> Path:
    """Prunes the checkpoint by the settings of the recipe, once for each ratio."""
    place = bench.folder / f"pruned-{plan.prune_ratio}.safetensors"
    if not place.is_file():
        config = PruneConfig(**prune_settings(bench, plan))
        prune_network(bench.network, config, place, dataset=bench.dataset)
    return place


def prune_settings(bench: Workbench, plan: Plan) -> dict[str, object]:
    """Returns the settings of the pruning, which are those of the recipe's stage as well."""
    return {
        "ratio": plan.prune_ratio,
        "criterion": "taylor",
        "batches": SCORING_BATCHES,
        "split": bench.config.split,
        "seed": bench.config.seed,
    }


def low_rank_settings(bench: Workbench, energy: float) -> FactorizeConfig:
    """Returns the settings of the factorization, which are those of the recipe's stage as well."""
    return FactorizeConfig(energy=energy, backend=bench.config.backend, threads=bench.config.threads)
