"""Whether an engine may be opened where it is, and how it is built anew otherwise."""

from __future__ import annotations

import re
from pathlib import Path

from jetseg.engine.tensorrt.options import TensorRTOptions, recorded_options
from jetseg.errors import ArtifactError
from jetseg.manifest import QUANTIZED, Manifest

_AMPERE = 80


def check_origin(path: Path, manifest: Manifest, version: str, device: str) -> None:
    """Refuses an engine that was built for another TensorRT or GPU.

    Args:
        path: Engine file.
        manifest: Its manifest; what it does not say is not checked.
        version: TensorRT here.
        device: GPU here, as `GpuFacts.label` names it.

    Raises:
        ArtifactError: It differs; says in what, and how to build it again.
    """
    built_with, built_on = manifest.toolchain.get("tensorrt"), manifest.device
    options = recorded_options(path, manifest)
    differences = []
    if built_with is not None and not _version_fits(built_with, version, options):
        differences.append(f"with TensorRT {built_with} (here: {version})")
    if built_on is not None and not _device_fits(built_on, device, options):
        differences.append(f"on {built_on} (here: {device})")
    if differences:
        raise ArtifactError(
            f"{path} was built {' and '.join(differences)}, and it holds only {_where(options)}.",
            f"Build it here: {_rebuild_command(manifest)}",
        )


def _version_fits(built: str, here: str, options: TensorRTOptions) -> bool:
    if not options.version_compatible:
        return built == here
    before, now = _numbers(built), _numbers(here)
    return before[:1] == now[:1] and before <= now


def _device_fits(built: str, here: str, options: TensorRTOptions) -> bool:
    before, now = _capability(built), _capability(here)
    if built == here or options.hardware == "exact" or before is None or now is None:
        return built == here
    return before == now if options.hardware == "same-capability" else now >= _AMPERE


def _where(options: TensorRTOptions) -> str:
    version = "from that version on, within its major version" if options.version_compatible else "in that version"
    device = {"exact": "on that GPU", "same-capability": "on GPUs of that capability", "ampere-plus": "from sm_80 on"}
    return f"{version} and {device[options.hardware]}"


def _numbers(version: str) -> tuple[int, ...]:
    """Returns a version's numbers.

    >>> _numbers("10.13.3.9")
    (10, 13, 3, 9)
    """
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _capability(label: str) -> int | None:
    """Returns the compute capability in a GPU's label, times ten.

    >>> _capability("Orin (sm_87)")
    87
    """
    found = re.search(r"sm_(\d+)", label)
    return int(found[1]) if found else None


def _rebuild_command(manifest: Manifest) -> str:
    words = ["jetseg build-engine MODEL.onnx --backend tensorrt --precision", manifest.precision]
    if manifest.precision in QUANTIZED:
        words.append("--calibration RANGES.json")
    asked = next((stage.settings for stage in reversed(manifest.stages) if stage.name == "build-engine"), {})
    words += [f"--keep-float {layer}" for layer in asked.get("keep_float", ())]
    words += [f"--option {key}={value}" for key, value in asked.get("options", {}).items()]
    return " ".join(words)
