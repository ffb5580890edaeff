"""Networks as people bring them, for tests of import, probe and preflight; a factory is `brought:NAME`."""

import torch
from torch import nn
from torch.nn import functional as F


class Segmenter(nn.Module):
    def __init__(self, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(in_channels, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(8, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Conv2d(16, num_classes, 1)

    def scores(self, x):
        return self.head(self.body(self.stem(x)))

    def forward(self, x):
        return {"out": self.scores(x)}


class Unpooled(Segmenter):
    def forward(self, x):
        pooled, where = F.max_pool2d(self.stem(x), 2, 2, return_indices=True)
        return self.head(self.body(F.max_unpool2d(pooled, where, 2)))


class Random(Segmenter):
    def forward(self, x):
        return self.scores(F.dropout(x))  # `training` was forgotten


class ByValue(Segmenter):
    """Runs, but cannot be exported."""

    def forward(self, x):
        return self.scores(x) if x.abs().max().item() > 1e9 else self.scores(x) * float(x.std().item())


class Detached(Segmenter):
    def forward(self, x):
        return self.scores(x).detach()


class Forgetful(Segmenter):
    """Part of it is not in its state_dict."""

    def __init__(self, num_classes: int, in_channels: int = 3) -> None:
        super().__init__(num_classes, in_channels)
        self.register_buffer("shift", torch.randn(num_classes, 1, 1), persistent=False)

    def forward(self, x):
        return self.scores(x) + self.shift


class Fixed(Segmenter):
    """Its channels cannot be pruned: one number of them stands in the forward."""

    def forward(self, x):
        features = self.body(self.stem(x))
        return self.head(features.reshape(features.shape[0], 16, *features.shape[2:]) * torch.ones(1, 16, 1, 1))
