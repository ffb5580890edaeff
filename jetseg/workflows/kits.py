"""A network's way to the vehicle: packed here, verified there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetseg.config import validate_config
from jetseg.data.dataset import Dataset, open_dataset
from jetseg.kit import packing, verifying
from jetseg.kit.config import PackConfig, VerifyConfig
from jetseg.kit.opening import open_kit
from jetseg.kit.packing import PackResult
from jetseg.kit.signature import key_in_force
from jetseg.kit.signed import open_driven
from jetseg.kit.verifying import VerifyResult
from jetseg.network import Network
from jetseg.progress import ProgressCallback, report_progress
from jetseg.quantization.ranges import Ranges
from jetseg.workflows.opening import as_network, as_ranges

if TYPE_CHECKING:
    from jetseg.kit.app_folder import AppFolder


def pack(
    network: Network | Path | str,
    *,
    data: Dataset | str,
    out: Path | str,
    ranges: Ranges | Path | str | None = None,
    progress: ProgressCallback | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> PackResult:
    """Packs a network, its ranges and some reference frames into one file for the vehicle.

    Args:
        network: Float ONNX file, opened or by its path.
        data: Where the reference frames come from, as a spec or opened. The kit holds them: mind their license.
        out: The kit.
        ranges: Its ranges, opened or by their path; without them the kit builds float engines only.
        progress: Is told how the work goes on.
        settings: Fields of `jetseg.kit.config.PackConfig`, as in `frames=4`.

    Returns:
        The kit, its index, and what INT8 lost on the frames in the simulation.

    Raises:
        ConfigError: Settings are wrong.
        QualityError: The simulated INT8 network loses more than the tolerance; no kit is written.
        JetsegError: The network, ranges or data are wrong.
    """
    config, opened = validate_config(PackConfig, settings), as_network(network)
    known = None if ranges is None else as_ranges(ranges, opened)
    with report_progress(progress):
        return packing.pack(opened, known, open_dataset(data), config, Path(out))


def pack_app(
    engine: Network | Path | str,
    *,
    data: Dataset | str,
    out: Path | str,
    progress: ProgressCallback | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> AppFolder:
    """Packs a LiteRT engine, its labels, how frames are fed, and golden frames into a folder for an app.

    Args:
        engine: The .tflite engine, opened or by its path.
        data: Where the golden frames come from, as a spec or opened. The folder holds them: mind their license.
        out: The folder.
        progress: Is told how the work goes on.
        settings: Fields of `jetseg.kit.config.PackConfig`, as in `frames=4`.

    Raises:
        ConfigError: Settings are wrong, or the folder exists.
        ArtifactError: It is no LiteRT engine.
        QualityError: The packed file gives other numbers when it is run again.
    """
    from jetseg.kit import app_folder

    config, opened = validate_config(PackConfig, settings), as_network(engine)
    with report_progress(progress):
        return app_folder.pack_app(opened, open_dataset(data), config, Path(out))


def verify(
    kit: Path | str,
    *,
    engine: Network | Path | str | None = None,
    out: Path | str | None = None,
    key: Path | str | None = None,
    progress: ProgressCallback | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> VerifyResult:
    """Builds an engine from a kit on this machine, and proves it on the kit's reference frames.

    Args:
        kit: The kit.
        engine: An engine that was built from the kit's network; by default one is built.
        out: Where the built engine goes once it has passed; by default engines/KIT.PRECISION....
        key: Public key of minisign that the kit must be signed with; see `jetseg.kit.signature.key_in_force`.
        progress: Is told how the work goes on.
        settings: Fields of `jetseg.kit.config.VerifyConfig`, as in `backend="tensorrt"`.

    Returns:
        The engine, and what the reference frames showed; its `comparison.violations` say whether it passed.

    Raises:
        ArtifactError: The kit is damaged or not signed with the key, or the engine is of another network.
        ConfigError: Settings are wrong.
        JetsegError: The engine cannot be built here.
    """
    config = validate_config(VerifyConfig, settings)
    given = engine if engine is None or isinstance(engine, Network) else open_driven(engine)
    with report_progress(progress), open_kit(Path(kit), key=key_in_force(key)) as opened:
        return verifying.verify(opened, config, engine=given, out=None if out is None else Path(out))
