"""From a float network and images to a ranges file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jetseg.config import validate_config
from jetseg.data.dataset import Dataset, open_dataset
from jetseg.errors import ConfigError
from jetseg.network import Network
from jetseg.progress import ProgressCallback, report_progress
from jetseg.quantization import calibration
from jetseg.quantization.config import CalibrateConfig
from jetseg.quantization.ranges import Ranges
from jetseg.quantization.tensorrt.cache_import import ranges_from_cache
from jetseg.storage import check_place
from jetseg.workflows.opening import as_network


def calibrate(
    network: Network | Path | str,
    *,
    data: Dataset | str | None = None,
    cache: Path | str | None = None,
    out: Path | str | None = None,
    progress: ProgressCallback | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> Ranges:
    """Watches a float network's activations on images, corrects it where that helps, and writes their ranges.

    Args:
        network: Float ONNX file, opened or by its path.
        data: Images, as a spec or opened; labels are not needed.
        cache: A calibration cache of TensorRT to read in place of images.
        out: Ranges file to write; by default calibration/NAME.ranges.json. A corrected network is written beside it.
        progress: Is told how the work goes on.
        settings: Fields of `jetseg.quantization.config.CalibrateConfig`, as in `images=64`.

    Returns:
        The ranges, opened.

    Raises:
        ConfigError: Settings are wrong, or there are neither images nor a cache.
        CalibrationError: An activation is not finite, or has no range.
        JetsegError: The network or the data is wrong.

    >>> ranges = calibrate("camvid-light.onnx", data="synthetic:4", images=2, preset="fast", out="r.json", threads=1)
    >>> ranges.record.frames, len(ranges.tensors) > 40
    (2, True)
    """
    config = validate_config(CalibrateConfig, settings)
    opened = as_network(network)
    target = Path(out) if out else Path("calibration") / f"{opened.name}.ranges.json"
    check_place(target)
    with report_progress(progress):
        if cache is not None and data is None:
            return ranges_from_cache(opened, Path(cache), target)
        if data is None or cache is not None:
            raise ConfigError("Calibration needs images or a cache, one of them.", "Give `data` or `cache`.")
        return calibration.calibrate(opened, open_dataset(data), config, target)
