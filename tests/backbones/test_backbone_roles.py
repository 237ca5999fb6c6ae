"""Every backbone, in every role it takes, between every kind of space, given every kind of condition."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from likewise.backbones.base import Backbone
from likewise.backbones.conv import Conv
from likewise.backbones.mlp import MLP
from likewise.backbones.recurrent import GRU, LSTM
from likewise.backbones.transformer import Transformer
from likewise.backbones.unet import UNet
from likewise.spaces import MISSING_TOKEN, Condition, Continuous, Space, Tokens, Unfit, drop

BACKBONES: dict[str, Backbone] = {
    "mlp": MLP(width=32, depth=2),
    "conv": Conv(width=16, multipliers=(1, 2)),
    "unet": UNet(width=16, multipliers=(1, 2), groups=4),
    "transformer": Transformer(width=32, depth=2, heads=2),
    "lstm": LSTM(width=32),
    "gru": GRU(width=32, depth=1),
}
SPACES: dict[str, Space] = {
    "vector": Continuous((5,)),
    "row": Continuous((6,), choices=((1, 4),)),
    "series": Continuous((1, 9)),
    "picture": Continuous((3, 8, 8)),
    "odd picture": Continuous((1, 13, 7)),
    "film": Continuous((2, 4, 6, 6)),
    "text": Tokens(10, 12, end=0),
    "columns": Tokens(4, 9, ranges=((0, 3), (3, 5), (5, 9), (0, 9))),
    "pixels": Tokens(12, 5, grid=(3, 4)),
}
CONDITIONS: dict[str, Condition] = {
    "nothing": {},
    "label": {"kind.of": Tokens(1, 4)},
    "text": {"caption": Tokens(7, 9, end=0)},
    "numbers": {"size": Continuous((3,)), "label": Tokens(1, 3)},
    "map": {"outline": Continuous((2, 10, 3))},
}
ROLES = ("encoder", "decoder", "denoiser", "predictor")
BATCH, FEATURES = 3, 6

FITTING = [
    pytest.param(name, role, space, id=f"{name}-{role}-{space}")
    for name in BACKBONES
    for role in ROLES
    for space in SPACES
    if BACKBONES[name].unfit(role, SPACES[space]) is None
]
WITHOUT_FIT = [
    pytest.param(name, role, space, id=f"{name}-{role}-{space}")
    for name in BACKBONES
    for role in ROLES
    for space in SPACES
    if BACKBONES[name].unfit(role, SPACES[space]) is not None
]


def value(space: Space, batch: int = BATCH) -> Tensor:
    """Random items of a space; texts have different lengths."""
    if isinstance(space, Continuous):
        return torch.randn(batch, *space.shape)
    x = torch.randint(1, space.vocabulary, (batch, space.length))
    for row, (low, high) in enumerate(space.ranges):
        x[:, row] = torch.randint(low, high, (batch,))
    if space.end is not None:
        for row in range(batch):
            x[row, 2 + row :] = space.end
    return x


def build(name: str, role: str, space: Space, condition: Condition) -> nn.Module:
    backbone = BACKBONES[name]
    torch.manual_seed(0)
    if role == "encoder":
        net = backbone.encoder(space, FEATURES, condition)
    elif role == "predictor":
        assert isinstance(space, Tokens)
        net = backbone.predictor(space, condition)
    else:
        assert isinstance(space, Continuous)
        make = backbone.denoiser(space, condition) if role == "denoiser" else None
        net = make or backbone.decoder(FEATURES, space, condition)
    return net


def break_zeros(net: nn.Module) -> nn.Module:
    """Layers that start at zero hide what stands behind them."""
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return net


def inputs(role: str, space: Space) -> tuple[Tensor, ...]:
    if role == "decoder":
        return (torch.randn(BATCH, FEATURES),)
    return (value(space), torch.rand(BATCH)) if role == "denoiser" else (value(space),)


def shape_of(role: str, space: Space) -> tuple[int, ...]:
    if role == "encoder":
        return (BATCH, FEATURES)
    if isinstance(space, Tokens):
        return (BATCH, space.length, space.vocabulary)
    return (BATCH, *space.shape)


@pytest.mark.parametrize("given", CONDITIONS)
@pytest.mark.parametrize(("name", "role", "space"), FITTING)
def test_role(name: str, role: str, space: str, given: str) -> None:
    """Shape, gradients everywhere, None = all missing, and no row that depends on its neighbours."""
    net = break_zeros(build(name, role, SPACES[space], CONDITIONS[given]))
    x, c = inputs(role, SPACES[space]), {field: value(kind) for field, kind in CONDITIONS[given].items()}
    out = net(*x, c)
    assert out.shape == shape_of(role, SPACES[space])
    assert out.dtype == torch.float32
    (out * torch.randn_like(out)).sum().backward()
    untouched = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not untouched

    net.eval()
    with torch.no_grad():
        scale = out.abs().max().item() * 1e-5
        missing = drop(c, torch.ones(BATCH, dtype=torch.bool))
        torch.testing.assert_close(net(*x), net(*x, missing), rtol=0, atol=scale)
        alone = [net(*(v[i : i + 1] for v in x), {k: v[i : i + 1] for k, v in c.items()})[0] for i in range(BATCH)]
        torch.testing.assert_close(torch.stack(alone), net(*x, c), rtol=0, atol=scale)
        if c:
            assert not torch.allclose(net(*x, c), net(*x), rtol=0, atol=10 * scale)


@pytest.mark.parametrize(("name", "role", "space"), WITHOUT_FIT)
def test_refusal(name: str, role: str, space: str) -> None:
    """A clause, not a sentence."""
    backbone = BACKBONES[name]
    clause = backbone.unfit(role, SPACES[space])  # pyright: ignore[reportArgumentType]
    assert clause is not None
    assert clause.startswith(name)
    assert not clause.endswith(".")
    assert "\n" not in clause


@pytest.mark.parametrize(("name", "role"), [("mlp", "predictor"), ("conv", "predictor"), ("lstm", "denoiser")])
def test_roles_without_a_network(name: str, role: str) -> None:
    space = SPACES["text" if role == "predictor" else "series"]
    with pytest.raises(Unfit, match=name):
        build(name, role, space, {})


@pytest.mark.parametrize("name", [name for name in BACKBONES if name != "unet"])  # which has no encoder
def test_some_missing_fields(name: str) -> None:
    """A row may lack one field of two, or some numbers of a field; leaving the field out says the same."""
    space = SPACES["picture"] if name == "conv" else SPACES["pixels"]
    role = "encoder"
    condition: Condition = {"size": Continuous((3,)), "columns": Tokens(4, 9)}
    net = break_zeros(build(name, role, space, condition)).eval()
    x, c = value(space), {field: value(kind) for field, kind in condition.items()}
    without = {"size": c["size"], "columns": torch.full_like(c["columns"], MISSING_TOKEN)}
    torch.testing.assert_close(net(x, without), net(x, {"size": c["size"]}))
    c["size"][:, 1] = math.nan
    c["columns"][:, 2] = MISSING_TOKEN
    assert net(x, c).isfinite().all()


@pytest.mark.parametrize("name", ["mlp", "lstm", "gru", "transformer"])
def test_padding_is_not_read(name: str) -> None:
    """A text encoder answers the same however far a batch is padded, and whatever follows the end."""
    space = Tokens(10, 12, end=0)
    net = break_zeros(build(name, "encoder", space, {})).eval()
    short = torch.tensor([[3, 4, 0], [5, 0, 0]])
    long = torch.tensor([[3, 4, 0, 7, 7, 0], [5, 0, 8, 1, 2, 3]])
    torch.testing.assert_close(net(short), net(long))


@pytest.mark.parametrize("given", ["nothing", "label"])
@pytest.mark.parametrize("name", ["mlp", "conv", "transformer"])
def test_gradient_penalty(name: str, given: str) -> None:
    """An encoder is a discriminator too: the gradient of its gradient exists and agrees with finite differences."""
    space = Continuous((1, 6, 5))
    net = break_zeros(build(name, "encoder", space, CONDITIONS[given])).double()
    c = {field: value(kind) for field, kind in CONDITIONS[given].items()}
    x = torch.randn(BATCH, *space.shape, dtype=torch.double, requires_grad=True)
    weight = next(p for n, p in net.named_parameters() if "embed" in n or n.startswith("net.0"))

    def penalty() -> Tensor:
        (slope,) = torch.autograd.grad(net(x, c).double().sum(), x, create_graph=True)
        return slope.square().sum()

    penalty().backward()
    direction = torch.randn_like(weight)
    assert weight.grad is not None
    expected = (weight.grad * direction).sum().item()
    step = 1e-6  # small: across the kink of a leaky ReLU the slope jumps
    with torch.no_grad():
        weight += step * direction
    above = penalty().item()
    with torch.no_grad():
        weight -= 2 * step * direction
    below = penalty().item()
    assert (above - below) / (2 * step) == pytest.approx(expected, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(("name", "role", "space"), [p for p in FITTING if p.values[2] in ("picture", "text")])
def test_bfloat16(name: str, role: str, space: str) -> None:
    """Under autocast every role stays near its float32 answer, and gives float32."""
    net = break_zeros(build(name, role, SPACES[space], CONDITIONS["text"])).eval()
    x, c = inputs(role, SPACES[space]), {"caption": value(CONDITIONS["text"]["caption"])}
    with torch.no_grad():
        exact = net(*x, c)
        with torch.autocast("cpu", torch.bfloat16):
            near = net(*x, c)
    assert near.dtype == torch.float32
    assert (near - exact).norm() < 0.05 * exact.norm()
