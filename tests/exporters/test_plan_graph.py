"""The graph for torch-tensorrt: its poolings are torch's, and what it computes is checked."""

import itertools

import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402

from jetseg.errors import ArtifactError, QualityError  # noqa: E402
from jetseg.exporters.plan_graph import capture, check_captured, plain_max_pool  # noqa: E402

FORMS = list(itertools.product((2, 3, (3, 2)), (1, 2, (2, 3)), (0, 1), (1, 2, (1, 3)), (False, True)))


@pytest.mark.parametrize("size", [(8, 9), (11, 13)])
def test_pooling_without_rounding_up_and_dilation_is_that_of_torch(size):
    torch.manual_seed(0)
    image = torch.randn(2, 3, *size) - 5.0  # a border of zeros would show
    for kernel, stride, padding, dilation, ceil in FORMS:
        options = [
            list(value) if isinstance(value, tuple) else [value] for value in (kernel, stride, padding, dilation)
        ]
        expected = F.max_pool2d(image, kernel, stride, padding, dilation, ceil)
        torch.testing.assert_close(plain_max_pool(image, *options, ceil), expected, rtol=0, atol=0)


class Pools(torch.nn.Module):
    def forward(self, x):
        return F.max_pool2d(x, 2, ceil_mode=True)


def test_a_captured_graph_has_no_pooling_that_rounds_up_and_the_same_values():
    image = torch.randn(1, 3, 9, 7)
    program = capture(Pools().eval(), image)
    assert "max_pool2d.default" not in str(program.graph)
    torch.testing.assert_close(program.module()(image), Pools()(image), rtol=0, atol=0)


def test_forwards_that_depend_on_values_are_told():
    class Chooses(torch.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ArtifactError, match=r"torch\.export cannot capture the network: .*Its forward must not choose"):
        capture(Chooses(), torch.zeros(1, 3, 4, 4))


def test_a_graph_is_compared_by_logits_and_by_the_logit_of_its_class():
    logits = torch.zeros(1, 3, 1, 2)
    logits[0, :, 0, 0], logits[0, :, 0, 1] = torch.tensor([4.0, 1.0, 0.0]), torch.tensor([2.0, 1.999, 0.0])
    check_captured(lambda _: logits + 0.1, [logits], [logits], "fp16")
    with pytest.raises(QualityError, match=r"differ by up to 0\.1, and the largest is 4\. .*Export to ONNX\.$"):
        check_captured(lambda _: logits + 0.1, [logits], [logits], "fp32")
    check_captured(lambda _: torch.tensor([[[0, 1]]]), [logits], [logits], "fp32")  # a tie, but for rounding
    with pytest.raises(QualityError, match="up to 3"):
        check_captured(lambda _: torch.tensor([[[1, 0]]]), [logits], [logits], "fp16")
    with pytest.raises(QualityError, match="65504"):
        check_captured(lambda _: logits * float("nan"), [logits], [logits], "fp16")


def test_bounds_are_of_the_type_of_what_they_bound():
    class Bounds(torch.nn.Module):
        def forward(self, x):
            x = x.half()
            return F.relu6(x), F.hardtanh(x, -2.0, 3.0), torch.clamp(x, min=-1.0), torch.clamp(x, max=4.0)

    image = torch.randn(1, 3, 4, 4) * 5
    program = capture(Bounds().eval(), image)
    bounding = [node for node in program.graph.nodes if "imum" in str(node.target)]
    assert {source.meta["val"].dtype for node in bounding for source in node.all_input_nodes} == {torch.float16}
    assert not [node for node in program.graph.nodes if "clamp" in str(node.target) or "hardtanh" in str(node.target)]
    for found, expected in zip(program.module()(image), Bounds()(image), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
