"""The real torch-tensorrt turns every network of the registry into a plan; `make torch-tensorrt` runs this."""

import json

import pytest
from gpu_stand_in import LABEL, answer_for_a_gpu
from typer.testing import CliRunner

from jetseg.cli.main import app
from jetseg.errors import ArtifactError, MissingDependencyError
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest, ModelSpec
from jetseg.network import load_manifest

torch = pytest.importorskip("torch")
from jetseg.exporters import plan_builder, torch_tensorrt  # noqa: E402
from jetseg.exporters.config import PlanConfig  # noqa: E402
from jetseg.exporters.plan_graph import capture  # noqa: E402
from jetseg.models import create_model, model_names  # noqa: E402
from jetseg.training.checkpoint import save_checkpoint  # noqa: E402

pytestmark = [pytest.mark.torch_tensorrt, pytest.mark.timeout(900)]
SPEC = InputSpec(height=64, width=96, mean=(127.0,) * 3, std=(64.0,) * 3)


@pytest.fixture(scope="module")
def library():
    with pytest.MonkeyPatch.context() as patch:
        answer_for_a_gpu(patch)
        patch.setattr(torch_tensorrt, "DEVICE", "cpu")
        patch.setattr(torch_tensorrt, "_gpu_label", lambda: LABEL)
        try:
            yield plan_builder.load_torch_tensorrt()
        except MissingDependencyError as error:
            pytest.skip(f"torch-tensorrt is not installed: {error}")


@pytest.fixture(scope="module", params=model_names())
def checkpoint(request, tmp_path_factory):
    """Gives a network of the registry as it comes, and how many numbers it holds."""
    torch.manual_seed(0)
    network = create_model(request.param, 5).eval()
    path = tmp_path_factory.mktemp(request.param) / "net.safetensors"
    save_checkpoint(path, network, Manifest(classes=tuple("abcde"), input=SPEC, model=ModelSpec(factory=request.param)))
    return path, sum(value.numel() for value in network.parameters())


def converted(path, **settings):
    """Returns an engine's size in bytes, its layers and its matrix layers by precision."""
    out = path.parent / f"{'-'.join(settings.values())}.engine"
    command = ["export", str(path), "--out", str(out), "--json"]
    for name, value in settings.items():
        command += [f"--{name}", value]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    told, manifest = json.loads(done.stdout), load_manifest(out)
    stage = manifest.stages[-1].settings
    assert told["layers"] == stage["layers"]
    assert (manifest.precision, manifest.output.kind, manifest.input.kind) == tuple(settings.values())
    assert told["size_bytes"] == out.stat().st_size
    assert (manifest.backend, set(manifest.toolchain) >= {"torch-tensorrt", "tensorrt-rtx"}) == ("tensorrt_rtx", True)
    return out.stat().st_size, stage["layers"], stage["matrix_layers"]


@pytest.mark.parametrize("head", ["logits", "classmap"])
@pytest.mark.parametrize("kind", ["normalized", "frame"])
def test_size_and_layers_show_the_precision(library, checkpoint, kind, head):
    path, numbers = checkpoint
    size, layers, matrix_layers = converted(path, precision="fp32", head=head, input=kind)
    half_size, half_layers, half_matrix_layers = converted(path, precision="fp16", head=head, input=kind)
    print(f"{path.parent.name} {kind} {head}: {size} {layers} {half_size} {half_layers}")  # noqa: T201 - the figures of the docs
    assert set(layers) == {"fp32"}
    assert matrix_layers["fp32"] == half_matrix_layers["fp16"] > 10
    assert set(matrix_layers) | set(half_matrix_layers) == {"fp32", "fp16"}
    assert half_layers["fp16"] > 10
    assert half_layers.get("fp32", 0) == (2 if kind == "frame" else 0)  # the normalization of pixels
    saved = size - half_size
    assert 0.8 * 2 * numbers < saved < 1.2 * 2 * numbers + (1 << 20), (saved, numbers)


def test_operators_without_a_converter_are_named_before_the_conversion(library, monkeypatch):
    class Strange(torch.nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x) + torch.special.bessel_j0(x + 1) + torch.special.i0e(x)

    image = torch.zeros(1, 3, 8, 8)
    program = capture(Strange(), image)
    from torch_tensorrt.dynamo.conversion import TRTInterpreter

    monkeypatch.setattr(TRTInterpreter, "run_node", lambda *_: pytest.fail("the conversion has begun"))
    with pytest.raises(ArtifactError, match=r"special_bessel_j0\.default \(\w+ and 1 more\), .*i0e\.default") as caught:
        plan_builder.build_plan(library, program, image, PlanConfig())
    assert "build-engine --backend tensorrt" in str(caught.value)


def test_a_layer_in_another_precision_than_was_asked_for_is_told(library):
    class CastsInside(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Conv2d(3, 8, 3).half(), torch.nn.Conv2d(8, 5, 3)

        def forward(self, x):
            return self.second(self.first(x.half()).float())

    image = torch.zeros(1, 3, 8, 8)
    program = capture(CastsInside().eval().requires_grad_(False), image)
    with pytest.raises(ArtifactError, match="Of 2 convolutions and matrix products, 1 in fp32; fp16 was asked for"):
        plan_builder.build_plan(library, program, image, PlanConfig())
