"""What networks from elsewhere return: the logits are found by value, and everything behind sees one form."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from jetseg.errors import ArtifactError
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest, ModelSpec
from jetseg.models.outputs import adapt_outputs_, find_outputs, leaves

CLASSES, SIZE = 4, (24, 32)
MANIFEST = Manifest(
    kind="checkpoint",
    classes=tuple("abcd"),
    input=InputSpec(height=SIZE[0], width=SIZE[1]),
    model=ModelSpec(factory="somewhere:net"),
)


@dataclass
class Fields:
    loss: torch.Tensor | None
    logits: torch.Tensor


class Named(NamedTuple):
    features: torch.Tensor
    scores: torch.Tensor


class ModelOutput(OrderedDict):
    """As in transformers: a mapping with attributes."""


class Net(nn.Module):
    """Gives the forms that are asked for, of main logits, early logits, features of 8 channels and a boundary map."""

    def __init__(self, in_eval, in_training=None):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5))
        self.head, self.early, self.edge = nn.Conv2d(8, CLASSES, 1), nn.Conv2d(8, CLASSES, 1), nn.Conv2d(8, 1, 1)
        self.forms = in_eval, in_training or in_eval

    def forward(self, x):
        features = self.stem(x)
        form = self.forms[self.training]
        main = self.head(self.body(features))
        return form(main, self.early(features), features, self.edge(features))


def alone(main, early, features, edge):
    return main


FORMS = {
    "alone": (alone, None, None),
    "torchvision": (lambda m, e, f, b: OrderedDict(out=m, aux=e), "out", "out"),
    "transformers": (lambda m, e, f, b: ModelOutput(logits=m[..., ::4, ::4], hidden_states=(f, f)), "logits", "logits"),
    "fields": (lambda m, e, f, b: Fields(None, m), "logits", "logits"),
    "named tuple": (lambda m, e, f, b: Named(f, m), "1", "1"),
    "other key": (lambda m, e, f, b: {"features": f, "prediction": m}, "prediction", "prediction"),
    "tuple of one": (lambda m, e, f, b: (m,), "0", "0"),
    "main first": (lambda m, e, f, b: (m, e), "0", "0"),
    "boundary": (lambda m, e, f, b: [m, b], "0", "0"),
    "boundary first": (lambda m, e, f, b: [b, m], "1", "1"),
    "nested": (lambda m, e, f, b: ({"heads": [m, b]}, f), "0.heads.0", "0.heads.0"),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_usual_forms_are_found_and_become_one_tensor(form):
    make, output, train_output = FORMS[form]
    module = Net(make)
    spec = find_outputs(module, MANIFEST)
    assert (spec.output, spec.train_output) == (output, train_output)
    images = torch.randn(2, 3, *SIZE)
    expected = module.eval().head(module.body(module.stem(images)))
    names = list(module.state_dict())
    adapt_outputs_(module, spec)
    found = module(images)
    if form == "transformers":
        expected = F.interpolate(expected[..., ::4, ::4], SIZE, mode="bilinear", align_corners=False)
    torch.testing.assert_close(found, expected)
    assert list(module.state_dict()) == names
    with_heads = module.train()(images)
    heads = with_heads if isinstance(with_heads, tuple) else (with_heads,)
    assert [tuple(head.shape) for head in heads] == [(2, CLASSES, *SIZE)] * len(heads)
    assert len(heads) == (2 if form in ("torchvision", "main first") else 1)


def test_the_main_head_of_training_is_the_one_that_eval_gives():
    """PIDNet trains with the early head first and a boundary head last."""
    module = Net(alone, lambda m, e, f, b: [e, m, b])
    spec = find_outputs(module, MANIFEST)
    assert (spec.output, spec.train_output) == (None, "1")
    adapt_outputs_(module, spec)
    images = torch.randn(2, 3, *SIZE)
    for part in module.train().modules():
        if isinstance(part, nn.BatchNorm2d | nn.Dropout):
            part.eval()
    main, auxiliary = module(images)
    features = module.stem(images)
    torch.testing.assert_close(main, module.head(module.body(features)))
    torch.testing.assert_close(auxiliary, module.early(features))


def test_finding_changes_neither_weights_nor_modes_nor_random_numbers():
    module = Net(*[FORMS["main first"][0]] * 2).train()
    module.stem.eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    find_outputs(module, MANIFEST)
    assert torch.equal(torch.rand(2), expected)
    assert (module.training, module.stem.training, module.body.training) == (True, False, True)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m, e, f, b: (e, m), r"returned 2 outputs, '0' 1x4x24x32, '1' 1x4x24x32: '0' comes first, but more of"),
        (lambda m, e, f, b: {"a": m, "b": e}, r"several could be them\. Say by `output` .* 4 classes: a, b"),
        (lambda m, e, f, b: (f[:, :2], b), "none of them looks like logits"),
        (lambda m, e, f, b: m.permute(0, 2, 3, 1), r"1x24x32x4: channels come last\. .*permute\(0, 3, 1, 2\)"),
        (lambda m, e, f, b: m.transpose(2, 3), r"1x4x32x24: logits are N x 4 x 24 x 32"),
        (lambda m, e, f, b: m.argmax(1), "whole numbers, as of a class map"),
        (lambda m, e, f, b: m[:, :3], "3 channels are too few for 4 classes"),
        (lambda m, e, f, b: m.mean((2, 3)), "1x4: logits are N x 4"),
        (lambda m, e, f, b: None, "returned 0 outputs, no tensor"),
        (lambda m, e, f, b: m @ e, "does not run in eval mode on a batch of 1x3x24x32: RuntimeError"),
    ],
)
def test_what_is_not_clear_is_said(make, message):
    with pytest.raises(ArtifactError, match=message):
        find_outputs(Net(make), MANIFEST)


def test_the_place_can_be_given():
    module = Net(lambda m, e, f, b: (e, m))
    assert find_outputs(module, MANIFEST, "1").output == "1"
    with pytest.raises(ArtifactError, match=r"has no output 'logits': .*Give `output` as one of 0, 1"):
        find_outputs(module, MANIFEST, "logits")
    with pytest.raises(ArtifactError, match=r"one tensor, which needs no choice\. Leave `output` out"):
        find_outputs(Net(alone), MANIFEST, "0")
    with pytest.raises(ArtifactError, match="In training mode Net returned 'loss' .*none has the shape"):
        find_outputs(Net(alone, lambda m, e, f, b: {"loss": m.mean()}), MANIFEST)


def test_a_network_that_returns_something_else_later_is_refused():
    module = adapt_outputs_(Net(alone).eval(), ModelSpec(factory="somewhere:net", output="out"))
    with pytest.raises(ArtifactError, match="its logits are expected at 'out'"):
        module(torch.randn(1, 3, *SIZE))


def test_odd_sizes_of_strided_networks_are_logits():
    """360 x 480 at a thirty-second is 12 x 15 where convolutions round up."""
    manifest = MANIFEST.changed(input=InputSpec(height=360, width=480))
    assert find_outputs(Net(lambda m, e, f, b: (F.adaptive_avg_pool2d(m, (12, 15)), f)), manifest).output == "0"


def test_places_of_tensors():
    assert list(leaves([torch.ones(1), None, 3, {"a": (torch.ones(1),)}])) == ["0", "3.a.0"]
