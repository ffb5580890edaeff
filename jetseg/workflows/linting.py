"""What TensorRT and the DLA will say about a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jetseg.config import validate_config
from jetseg.engine.tensorrt import lint as rules
from jetseg.engine.tensorrt.lint import LintResult
from jetseg.engine.tensorrt.lint_config import LintConfig
from jetseg.manifest_file import has_manifest
from jetseg.network import Network, open_network
from jetseg.shipped import find_artifact


def lint(
    network: Network | Path | str,
    *,
    manifest: Path | str | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> LintResult:
    """Checks a network against what TensorRT and the DLA are known to take. Nothing is built.

    Args:
        network: ONNX file, opened or by its path: float, or with explicit quantizers.
        manifest: A manifest elsewhere than beside the file; without any, the network's own sizes hold.
        settings: Fields of `jetseg.engine.tensorrt.lint_config.LintConfig`, as in `device="dla"`.

    Raises:
        ConfigError: Settings are wrong, the target is unknown, or it has no DLA.
        JetsegError: The network or its manifest is broken.

    >>> {finding.kind for finding in lint("camvid-light.onnx", target="orin-nano-8gb").findings} - {"slow"}
    set()
    """
    config = validate_config(LintConfig, settings)
    if not isinstance(network, Network):
        path = find_artifact(Path(network))
        if manifest is None and not has_manifest(path):
            return rules.lint(path, config)
        network = open_network(path, manifest)
    return rules.lint(network.path, config, network.manifest, network.sha256)
