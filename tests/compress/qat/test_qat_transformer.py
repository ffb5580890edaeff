"""A small vision transformer through calibration and training under quantization, placed as TensorRT's engine is."""

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from small_network import HEIGHT, WIDTH, small_manifest, write_dataset
from torch import nn

from jetseg.compress.qat.module import OnnxModule
from jetseg.exporters.onnx_export import export_module
from jetseg.network import save_manifest
from jetseg.onnx.session import make_session
from jetseg.workflows.calibration import calibrate
from jetseg.workflows.evaluating import evaluate
from jetseg.workflows.qat import quantization_aware_train
from jetseg.workflows.rendering import render

PATCH, CHANNELS = 4, 16


class Transformer(nn.Module):
    """Patches, one block with attention and GELU, a linear head, upsampling."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, CHANNELS, PATCH, PATCH)
        self.norms = nn.ModuleList(nn.LayerNorm(CHANNELS) for _ in range(2))
        self.qkv, self.joined = nn.Linear(CHANNELS, 3 * CHANNELS), nn.Linear(CHANNELS, CHANNELS)
        self.up, self.down = nn.Linear(CHANNELS, 2 * CHANNELS), nn.Linear(2 * CHANNELS, CHANNELS)
        self.head = nn.Linear(CHANNELS, 3)

    def forward(self, image):
        tokens = self.patches(image).flatten(2).transpose(1, 2)
        parts = self.qkv(self.norms[0](tokens)).view(1, -1, 3, 2, CHANNELS // 2).permute(2, 0, 3, 1, 4)
        query, key, value = parts[0], parts[1], parts[2]
        shares = (query @ key.transpose(2, 3) / 3).softmax(-1)
        tokens = tokens + self.joined((shares @ value).transpose(1, 2).flatten(2))
        tokens = tokens + self.down(F.gelu(self.up(self.norms[1](tokens))))
        scores = self.head(tokens).transpose(1, 2).view(1, 3, HEIGHT // PATCH, WIDTH // PATCH)
        return F.interpolate(scores, scale_factor=PATCH, mode="bilinear")


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("network") / "transformer.onnx"
    onnx.save(export_module(Transformer().eval(), torch.zeros(1, 3, HEIGHT, WIDTH), "logits"), str(path))
    save_manifest(path, small_manifest())
    return path


@pytest.mark.long
@pytest.mark.parametrize("placement", ["conv-inputs", "full"])
def test_transformer_with_its_quantizers_is_that_of_onnx_runtime(transformer, tmp_path, placement):
    data = write_dataset(tmp_path / "data")
    ranges = calibrate(transformer, data=data, split="all", preset="fast", placement=placement, out=tmp_path / "r.json")
    model = onnx.load(render(transformer, ranges=ranges, form="qdq", out=tmp_path / "q.onnx").path)
    module = OnnxModule(model)
    linear = {name for name in module.weight_names if module.weights[name].ndim == 2}
    assert len(linear) == 5
    assert linear - {"head"} <= {*linear} & {*module.quantizer_of}
    x = np.random.default_rng(0).normal(size=(1, 3, HEIGHT, WIDTH)).astype(np.float32)
    (expected,) = make_session(model.SerializeToString(), threads=1, optimize=False).run(None, {"image": x})
    found = module(torch.from_numpy(x))
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=0.02 * np.abs(expected).max())
    found.square().mean().backward()
    assert all(bool(parameter.grad.any()) for parameter in module.parameters())


@pytest.mark.slow
def test_transformer_is_trained_and_keeps_its_class_map(transformer, tmp_path):
    data = write_dataset(tmp_path / "data")
    settings = {"split": "all", "eval_split": "all", "epochs": 2, "batch_size": 2, "labels": False, "images": 4}
    trained = quantization_aware_train(transformer, data=data, out=tmp_path / "q.onnx", **settings)
    found = evaluate(trained.qdq.path, data=data, split="all", reference=transformer)
    assert found.agreement.percent > 90
