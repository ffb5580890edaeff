"""Whatever a factory does, importing its network ends with a sentence, and leaves nothing."""

import json

import odd_factories
import pytest
import torch

import jetseg
from jetseg.errors import JetsegError

NAMES = [name for name in vars(odd_factories) if not name.startswith(("_", "nn", "torch", "Odd", "LOOP", "sys"))]


@pytest.mark.parametrize("name", NAMES)
def test_odd_factories_are_refused(name, tmp_path):
    weights = tmp_path / "weights.pt"
    torch.save({"conv.weight": torch.randn(2, 3, 1, 1), "conv.bias": torch.zeros(2)}, weights)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"classes": ["road", "sky"], "input": {"height": 16, "width": 24}}))
    with pytest.raises(JetsegError) as caught:
        jetseg.import_network(
            f"odd_factories:{name}", weights=weights, manifest=manifest, out=tmp_path / "net.safetensors"
        )
    assert caught.value.exit_code in (1, 2, 3)
    assert len(str(caught.value)) > 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "weights.pt"]
