"""From a ranges file to what TensorRT and other chips read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetseg.config import validate_config
from jetseg.engine.gpu_precisions import lacks
from jetseg.errors import ConfigError
from jetseg.network import Network
from jetseg.quantization.config import RenderConfig
from jetseg.quantization.qdq.schemes import SCHEMES, Scheme
from jetseg.quantization.ranges import Ranges
from jetseg.quantization.render import write_cache, write_qdq
from jetseg.targets import find_target
from jetseg.workflows.opening import as_ranges


@dataclass(frozen=True)
class RenderResult:
    """What was rendered.

    Attributes:
        path: The file.
        network: The Q/DQ network; of a cache, the float network to build with it.
        config: The settings.
    """

    path: Path
    network: Network
    config: RenderConfig


def render(
    network: Network | Path | str,
    *,
    ranges: Ranges | Path | str,
    out: Path | str,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> RenderResult:
    """Renders a calibrated network: as a Q/DQ network, or as a calibration cache of TensorRT.

    Args:
        network: Float ONNX file, opened or by its path.
        ranges: Its ranges, opened or by their path.
        out: The file to write.
        settings: Fields of `jetseg.quantization.config.RenderConfig`, as in `form="cache"`.

    Raises:
        ConfigError: Settings are wrong, or the target's GPU lacks the scheme.
        CalibrationError: The ranges are of another network, or TensorRT would refuse the result.

    >>> from jetseg.workflows.calibration import calibrate
    >>> ranges = calibrate("camvid-light.onnx", data="synthetic:4", images=2, preset="fast", out="r.json", threads=1)
    >>> render(ranges.network, ranges=ranges, out="light.qdq.onnx").network.manifest.precision
    'int8'
    """
    config, place = validate_config(RenderConfig, settings), Path(out)
    known = as_ranges(ranges, network)
    if config.form == "cache":
        return RenderResult(place, write_cache(known, place, config.tensorrt), config)
    scheme = SCHEMES[config.scheme]
    _check_target(config.target, scheme)
    return RenderResult(place, write_qdq(known, place, placement=config.placement, scheme=scheme), config)


def _check_target(name: str | None, scheme: Scheme) -> None:
    """Refuses a scheme that a computer's GPU has no numbers for."""
    if name is None:
        return
    capability = find_target(name).compute_capability
    if capability is None:
        why = "it has no GPU, which fp8 is for" if scheme.floating else None
    else:
        why = lacks(capability, scheme.precision)
    if why is not None:
        raise ConfigError(f"{name} cannot run it: {why}.", "Choose `scheme` int8.")
