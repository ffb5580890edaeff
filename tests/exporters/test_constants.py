"""What does not depend on the image is computed at export."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from jetseg.exporters.onnx_export import export_module
from jetseg.onnx.session import make_session


class Positioned(nn.Module):
    """Adds a table of positions that is resized with antialiasing, which TensorRT's parser refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, 4, 7, 7))
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, image):
        size = image.shape[2:]
        return self.conv(image) + F.interpolate(self.table, size, mode="bicubic", antialias=True)


def test_a_resized_table_becomes_a_constant_of_the_same_value():
    module = Positioned().eval().requires_grad_(False)
    image = torch.randn(1, 3, 6, 10)
    model = export_module(module, image, "logits")
    assert [node.op_type for node in model.graph.node] == ["Conv", "Add"]
    (found,) = make_session(model.SerializeToString()).run(None, {"image": image.numpy()})
    np.testing.assert_allclose(found, module(image).numpy(), atol=1e-5)
