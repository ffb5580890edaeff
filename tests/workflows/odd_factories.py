"""Factories as people bring them by mistake: none of them makes a network that works."""

import sys

import torch
from torch import nn


class Odd(nn.Module):
    def __init__(self, num_classes, answer):
        super().__init__()
        self.conv = nn.Conv2d(3, num_classes, 1)
        self.answer = answer

    def forward(self, x):
        return self.answer(self, x)


LOOP = []
LOOP.append(LOOP)


def _odd(answer):
    def factory(num_classes, in_channels=3):
        del in_channels
        return Odd(num_classes, answer)

    return factory


returns_nothing = _odd(lambda net, x: None)
returns_text = _odd(lambda net, x: "road")
returns_numbers = _odd(lambda net, x: [1, 2.0])
returns_empty_mapping = _odd(lambda net, x: {})
returns_itself = _odd(lambda net, x: net)
returns_a_class_map = _odd(lambda net, x: net.conv(x).argmax(1))
returns_no_batch = _odd(lambda net, x: net.conv(x)[0])
returns_channels_last = _odd(lambda net, x: net.conv(x).permute(0, 2, 3, 1))
returns_too_few_channels = _odd(lambda net, x: net.conv(x)[:, :1])
returns_other_proportions = _odd(lambda net, x: net.conv(x)[:, :, :7])
returns_one_score = _odd(lambda net, x: net.conv(x).mean())
returns_nan = _odd(lambda net, x: net.conv(x) * float("nan"))
returns_complex = _odd(lambda net, x: net.conv(x) * 1j)
returns_a_sparse_tensor = _odd(lambda net, x: net.conv(x).to_sparse())
returns_a_generator = _odd(lambda net, x: (part for part in [net.conv(x)]))
returns_a_loop = _odd(lambda net, x: LOOP)
draws_by_chance = _odd(lambda net, x: net.conv(x) + torch.rand_like(x[:, :1]))
has_no_gradient = _odd(lambda net, x: net.conv(x).detach())
wants_another_size = _odd(lambda net, x: net.conv(x.view(1, 3, 10, 10)))
raises = _odd(lambda net, x: 1 / 0)
recurses = _odd(lambda net, x: net(x))
exits = _odd(lambda net, x: sys.exit(3))


def builds_nothing(num_classes, in_channels=3):
    return None


def builds_a_class(num_classes, in_channels=3):
    return nn.Conv2d


def builds_a_function(num_classes, in_channels=3):
    return lambda x: x


def raises_when_built(num_classes, in_channels=3):
    raise KeyError("backbone")


def exits_when_built(num_classes, in_channels=3):
    raise SystemExit(3)


def takes_nothing():
    return nn.Conv2d(3, 2, 1)


builds_another_each_time = lambda num_classes, in_channels=3: nn.Sequential(  # noqa: E731
    *[nn.Conv2d(3, 3, 1) for _ in range(int(torch.randint(1, 50, ())))], nn.Conv2d(3, num_classes, 1)
)
is_no_function = 7
