"""Small networks that are wired in every way that networks are: a stem, a body that differs, and a head.

`WIRED` has the parts and the code of each body, by name.
"""

import warnings

import torch
import torch.nn.functional as F
from torch import nn

CHANNELS = 16
WIRED = {}


def conv(inputs, outputs, kernel=3, **options):
    """A convolution with a batch norm that is not the identity, and ReLU."""
    norm = nn.BatchNorm2d(outputs)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias, 0, 0.3)
    norm.running_mean.normal_(0, 0.1)
    norm.running_var.uniform_(0.5, 2)
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **options), norm, nn.ReLU())


class Graph(nn.Module):
    """Runs `body(self, x)` between its first and last layers."""

    def __init__(self, parts, body, classes=5):
        super().__init__()
        self.stem = conv(3, CHANNELS)
        for name, part in parts().items():
            if isinstance(part, torch.Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)
        self.body = body
        self.last = nn.LazyConv2d(CHANNELS, 3, padding=1)
        self.head = nn.Conv2d(CHANNELS, classes, 1)

    def forward(self, x):
        y = F.relu(self.last(self.body(self, self.stem(x))))
        return F.interpolate(self.head(y), size=x.shape[-2:], mode="bilinear", align_corners=False)


def build(name):
    """Returns a network of `WIRED`, in eval mode, for 24 x 32 pixels."""
    torch.manual_seed(len(name))
    network = Graph(*WIRED[name]).eval()
    with torch.no_grad():
        network(torch.zeros(1, 3, 24, 32))  # the last layer learns its number of inputs
    return network


def wired(name, **parts):
    """Adds a body to `WIRED`; `parts` are makers of its layers."""

    def add(body):
        WIRED[name] = (lambda: {part: make() for part, make in parts.items()}, body)
        return body

    return add


def convs(**shapes):
    return {name: lambda shape=shape: conv(*shape) for name, shape in shapes.items()}


def plain(*shape, **options):
    return lambda: nn.Conv2d(*shape, **options)


def old_weight_norm():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(nn.Conv2d(16, 16, 3, padding=1))


def linear(inputs, outputs):
    return lambda: nn.Linear(inputs, outputs)


A = convs(a=(16, 16))
AB = convs(a=(16, 16), b=(16, 16))
QKV = {"qkv": linear(16, 48), "proj": linear(16, 16)}


def simple(name, body, **parts):
    wired(name, **parts)(body)


# Joined and cut.
simple("chain", lambda self, x: self.b(self.a(x)), **AB)
simple("add", lambda self, x: self.b(x + self.a(x)), **AB)
simple("add in place", lambda self, x: self.b(self.a(x).add_(x)), **AB)
simple("concat", lambda self, x: torch.cat([self.a(x), x, self.b(x)], 1), **AB)
simple("repeated channels", lambda self, x: self.b(self.a(x).repeat(1, 2, 1, 1)), **convs(a=(16, 16), b=(32, 16)))
simple(
    "interleaved channels",
    lambda self, x: self.b(torch.stack([self.a(x), x], 2).flatten(1, 2)),
    **convs(a=(16, 16), b=(32, 16)),
)
simple("narrow", lambda self, x: self.b(self.a(x).narrow(1, 4, 8)), **convs(a=(16, 16), b=(8, 8)))
simple("every other channel", lambda self, x: self.b(self.a(x)[:, ::2]), **convs(a=(16, 16), b=(8, 8)))
simple("one channel by number", lambda self, x: self.b(self.a(x) * x[:, 3:4]), **AB)
simple(
    "slice, stated",
    lambda self, x: torch.cat([self.b(self.a(x)[:, 4:10]), x[:, :3]], 1),
    **convs(a=(16, 16), b=(6, 8)),
)


@wired("concat after concat", **convs(a=(16, 8), b=(24, 8)))
def _(self, x):
    x = torch.cat([x, self.a(x)], 1)
    return torch.cat([x, self.b(x)], 1)


@wired("chunk", **convs(a=(16, 16), b=(8, 8)))
def _(self, x):
    first, second = self.a(x).chunk(2, 1)
    return torch.cat([first, second, self.b(second)], 1)


@wired("split, stated", **convs(a=(16, 16), b=(12, 8)))
def _(self, x):
    first, second = self.a(x).split((4, 12), 1)
    return torch.cat([first, self.b(second)], 1)


@wired("split in equal parts, stated", **convs(a=(16, 16), b=(8, 8)))
def _(self, x):
    first, second = torch.split(self.a(x), 8, dim=1)
    return torch.cat([first, self.b(second)], 1)


@wired("written in place", **AB)
def _(self, x):
    y = self.a(x)
    y[:, :8].copy_(x[:, 8:])
    return self.b(y)


# Moved.
def shuffle(x, groups):
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


simple("shuffle", lambda self, x: self.b(shuffle(self.a(x), 2)), **AB)
simple("two shuffles", lambda self, x: shuffle(self.b(shuffle(self.a(x), 2)), 4), **AB)
simple("shuffle of torch", lambda self, x: self.b(F.channel_shuffle(self.a(x), 4)), **AB)
simple("flip", lambda self, x: self.b(self.a(x).flip(1)), **AB)
simple("flip added", lambda self, x: self.b(self.a(x) + x.flip(1)), **AB)
simple("roll", lambda self, x: self.b(self.a(x).roll(5, 1)), **AB)
simple("roll back added", lambda self, x: self.b(self.a(x) + torch.roll(x, -3, dims=1)), **AB)
simple("permuted by numbers", lambda self, x: self.b(self.a(x)[:, torch.arange(15, -1, -1)]), **AB)
simple("sorted", lambda self, x: self.b(self.a(x).sort(1).values), **AB)
simple("pad", lambda self, x: self.b(F.pad(self.a(x), (0, 0, 0, 0, 1, 3))), **convs(a=(16, 16), b=(20, 16)))


@wired("shuffle, stated", **AB)
def _(self, x):
    n, _, h, w = x.shape
    return self.b(self.a(x).view(n, 2, 8, h, w).transpose(1, 2).contiguous().view(n, 16, h, w))


@wired("pad added", **convs(a=(16, 24), b=(16, 16)))
def _(self, x):
    """The shortcut of the first residual networks: fewer positions, zeros for the channels that are new."""
    return F.relu(self.a(x)[:, :, ::2, ::2] + F.pad(self.b(x)[:, :, ::2, ::2], (0, 0, 0, 0, 0, 8)))


# Shared.
simple("shared module", lambda self, x: self.a(self.b(self.a(self.b(x)))), **AB)
WIRED["tied"] = (lambda: dict.fromkeys(("a", "b"), conv(16, 16)), lambda self, x: self.b(self.a(x)))
simple(
    "tied to its transpose",
    lambda self, x: F.conv_transpose2d(F.relu(self.a(x)), self.a.weight, padding=1),
    a=plain(16, 12, 3, padding=1),
)


@wired("tied weights", a=plain(16, 16, 3, padding=1), b=plain(16, 16, 3, padding=1))
def _(self, x):
    self.b.weight = self.a.weight
    return self.b(F.relu(self.a(x)))


# Gated.
simple(
    "channel gate",
    lambda self, x: self.a(x) * torch.sigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1))))),
    **A,
    down=plain(16, 4, 1),
    up=plain(4, 16, 1),
)
simple(
    "gate by linear layers",
    lambda self, x: self.a(x) * torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3)))))).view(1, -1, 1, 1),
    **A,
    down=linear(16, 4),
    up=linear(4, 16),
)
simple(
    "stated view of a gate",
    lambda self, x: self.a(x) * torch.sigmoid(self.gate(x.mean((2, 3)))).view(1, 16, 1, 1),
    **A,
    gate=linear(16, 16),
)
simple(
    "spatial gate",
    lambda self, x: self.a(x) * torch.sigmoid(self.gate(torch.cat([x.mean(1, True), x.amax(1, True)], 1))),
    **A,
    gate=plain(2, 1, 3, padding=1),
)
simple(
    "sum of what is not zero without its channel",
    lambda self, x: self.a(x) * torch.sigmoid(self.q(x)).sum(1, keepdim=True),
    **A,
    q=plain(16, 8, 1),
)
simple(
    "one map for all channels",
    lambda self, x: self.a(x) * torch.sigmoid(self.gate(x)).expand(-1, 16, -1, -1),
    **A,
    gate=plain(16, 1, 1),
)
simple(
    "einsum",
    lambda self, x: self.a(x) * torch.einsum("bchw,bchw->bhw", self.q(x), self.k(x)).sigmoid()[:, None],
    **A,
    q=plain(16, 8, 1),
    k=plain(16, 8, 1),
)
simple("gated linear unit", lambda self, x: F.glu(self.a(x), 1), a=plain(16, 32, 3, padding=1))


@wired("summed gate", **A, q=plain(16, 8, 1), k=plain(16, 8, 1))
def _(self, x):
    other = self.a(x)
    gate = torch.sigmoid((self.q(x) * self.k(other)).sum(1, keepdim=True))
    return (1 - gate) * x + gate * other


@wired("switched branches", **AB, pick=linear(16, 32))
def _(self, x):
    weights = self.pick(x.mean((2, 3))).view(1, 2, -1, 1, 1).softmax(1)
    return self.a(x) * weights[:, 0] + self.b(x) * weights[:, 1]


# Convolutions of each kind.
simple(
    "depthwise",
    lambda self, x: self.c(self.b(self.a(x))),
    a=lambda: conv(16, 32, 1),
    b=lambda: conv(32, 32, groups=32),
    c=lambda: conv(32, 16, 1),
)
simple(
    "depthwise with a multiplier",
    lambda self, x: self.b(self.a(x)),
    a=lambda: conv(16, 32, groups=16),
    b=lambda: conv(32, 16, 1),
)
simple(
    "grouped",
    lambda self, x: x + self.b(self.a(x)),
    a=lambda: conv(16, 32, groups=4),
    b=lambda: conv(32, 16, groups=2),
)
simple(
    "shuffled groups",
    lambda self, x: self.b(shuffle(self.a(x), 4)),
    a=lambda: conv(16, 16, groups=4),
    b=lambda: conv(16, 16, groups=4),
)
simple(
    "transposed",
    lambda self, x: F.relu(self.b(F.max_pool2d(self.a(x), 2))),
    **A,
    b=lambda: nn.ConvTranspose2d(16, 8, 2, 2),
)
simple(
    "grouped transposed",
    lambda self, x: F.relu(self.b(F.max_pool2d(self.a(x), 2))),
    **A,
    b=lambda: nn.ConvTranspose2d(16, 16, 2, 2, groups=16),
)
simple(
    "sub-pixel",
    lambda self, x: self.b(F.relu(F.pixel_shuffle(self.a(F.max_pool2d(x, 2)), 2))),
    a=plain(16, 64, 3, padding=1),
    b=lambda: conv(16, 16),
)
simple("space to depth", lambda self, x: self.a(F.pixel_unshuffle(x, 2)), **convs(a=(64, 16)))
simple(
    "unfold",
    lambda self, x: self.a(F.unfold(x, 3, padding=1).view(1, -1, *x.shape[-2:])),
    a=plain(144, 16, 1),
)
simple(
    "weight norm",
    lambda self, x: self.b(F.relu(self.a(x))),
    a=lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(16, 16, 3, padding=1)),
    b=lambda: conv(16, 16),
)


simple(
    "old weight norm",
    lambda self, x: self.b(F.relu(self.a(x))),
    a=old_weight_norm,
    b=lambda: conv(16, 16),
)


@wired("max unpooling", **AB)
def _(self, x):
    y, where = F.max_pool2d(self.a(x), 2, return_indices=True)
    return self.b(F.max_unpool2d(y, where, 2))


# Norms and bare parameters.
simple(
    "group norm",
    lambda self, x: self.b(F.relu(self.norm(self.a(x)))),
    a=plain(16, 32, 3, padding=1),
    norm=lambda: nn.GroupNorm(8, 32),
    b=lambda: conv(32, 16),
)
simple(
    "instance norm",
    lambda self, x: self.b(F.relu(self.norm(self.a(x)))),
    a=plain(16, 16, 3, padding=1),
    norm=lambda: nn.InstanceNorm2d(16, affine=True),
    b=lambda: conv(16, 16),
)
simple(
    "norm over channels by hand",
    lambda self, x: self.gain * F.normalize(self.a(x), dim=1),
    **A,
    gain=lambda: nn.Parameter(torch.rand(16, 1, 1) + 0.5),
)
simple(
    "root mean square by hand",
    lambda self, x: self.b(self.a(x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-3))),
    **AB,
)
simple("softmax over channels", lambda self, x: self.b(self.a(x).softmax(1)), **AB)
simple(
    "layer scale",
    lambda self, x: x + self.scale.view(-1, 1, 1) * self.b(self.a(x)),
    **AB,
    scale=lambda: nn.Parameter(torch.rand(16)),
)
simple(
    "layer scale, stated",
    lambda self, x: x + self.scale.reshape(1, 16, 1, 1) * self.a(x),
    **A,
    scale=lambda: nn.Parameter(torch.rand(16)),
)
simple(
    "learned slope",
    lambda self, x: self.b(self.act(self.a(x))),
    a=plain(16, 16, 3, padding=1),
    act=lambda: nn.PReLU(16),
    b=lambda: conv(16, 16),
)
simple(
    "positional embedding",
    lambda self, x: self.a(x + self.place),
    **A,
    place=lambda: nn.Parameter(torch.randn(1, 16, 24, 32)),
)
simple(
    "class token",
    lambda self, x: image(self.up(torch.cat([self.token, tokens(x)], 1))[:, 1:], x),
    token=lambda: nn.Parameter(torch.randn(1, 1, 16)),
    up=linear(16, 16),
)
simple("buffer", lambda self, x: self.a(x) + self.shift.view(1, -1, 1, 1), **A, shift=lambda: torch.randn(16))
simple("constant", lambda self, x: self.b(self.a(x) + torch.arange(16, dtype=x.dtype).view(1, 16, 1, 1)), **AB)


# Tokens and attention.
def tokens(x):
    return x.flatten(2).transpose(1, 2)


def image(t, like):
    return t.transpose(1, 2).reshape(like.shape[0], -1, *like.shape[-2:])


@wired("layer norm", norm=lambda: nn.LayerNorm(16), up=linear(16, 32), down=linear(32, 16))
def _(self, x):
    return x + image(self.down(F.gelu(self.up(self.norm(tokens(x))))), x)


@wired("attention", **QKV)
def _(self, x):
    t = tokens(x)
    n, length, _ = t.shape
    q, k, v = self.qkv(t).reshape(n, length, 3, 4, -1).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-2, -1) * 0.35).softmax(-1)
    return x + image(self.proj((weights @ v).transpose(1, 2).flatten(2)), x)


@wired("attention that states the stream's channels", q=linear(16, 16), kv=linear(16, 32), proj=linear(16, 16))
def _(self, x):
    t = tokens(x)
    n, length, c = t.shape
    q = self.q(t).reshape(n, length, 4, c // 4).permute(0, 2, 1, 3)
    k, v = self.kv(t).reshape(n, -1, 2, 4, c // 4).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-2, -1) * 0.35).softmax(-1)
    return x + image(self.proj((weights @ v).transpose(1, 2).reshape(n, length, c)), x)


@wired("fused attention", **QKV)
def _(self, x):
    t = tokens(x)
    n, length, c = t.shape
    q, k, v = (part.view(n, length, 4, 4).transpose(1, 2) for part in self.qkv(t).chunk(3, -1))
    return x + image(self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, length, c)), x)


@wired(
    "attention in windows",
    **QKV,
    table=lambda: nn.Parameter(torch.randn(31, 4)),
    index=lambda: torch.arange(16)[:, None] - torch.arange(16)[None] + 15,
)
def _(self, x):
    n, c, h, w = x.shape
    t = x.view(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
    q, k, v = self.qkv(t).reshape(-1, 16, 3, 4, c // 4).permute(2, 0, 3, 1, 4)
    bias = self.table[self.index.view(-1)].view(16, 16, -1).permute(2, 0, 1)
    t = ((q @ k.transpose(-2, -1) + bias.unsqueeze(0)).softmax(-1) @ v).transpose(1, 2).reshape(-1, 16, c)
    return x + self.proj(t).view(n, h // 4, w // 4, 4, 4, c).permute(0, 5, 1, 3, 2, 4).reshape(n, c, h, w)


@wired("attention across channels", **QKV, heat=lambda: nn.Parameter(torch.ones(4, 1, 1)))
def _(self, x):
    q, k, v = self.qkv(tokens(x)).reshape(1, -1, 3, 4, 4).permute(2, 0, 3, 4, 1)
    weights = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * self.heat).softmax(-1)
    return x + image(self.proj((weights @ v).permute(0, 3, 1, 2).reshape(1, -1, 16)), x)


@wired("non-local", qkv=plain(16, 24, 1), out=plain(8, 16, 1))
def _(self, x):
    q, k, v = self.qkv(x).flatten(2).split(8, 1)
    weights = (q.transpose(1, 2) @ k).softmax(-1)
    return x + self.out((v @ weights.transpose(1, 2)).view(1, 8, *x.shape[-2:]))


@wired("encoder layer of torch", layer=lambda: nn.TransformerEncoderLayer(16, 4, 32, batch_first=True))
def _(self, x):
    return x + image(self.layer(tokens(x)), x)


@wired("multi-head attention of torch", **A, attention=lambda: nn.MultiheadAttention(16, 4, batch_first=True))
def _(self, x):
    return self.a(x + image(self.attention(*[tokens(x)] * 3, need_weights=False)[0], x))
