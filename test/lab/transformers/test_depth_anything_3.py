"""Depth Anything 3: the published network where every token is kept, and its files.

What is published is written down here a second time, straight on, of the tensors of a file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from safetensors.torch import load_file, save_file  # noqa: E402
from small_v3 import ALTERNATING, BLOCKS, known_sizes, published, saved, small_v3  # noqa: E402

from pag_ros.errors import ModelError  # noqa: E402
from pag_ros.lab.transformers.depth_anything import (  # noqa: E402
    DEVIATION,
    MEAN,
    SIZES,
    GatedDepthAnything,
    read_depth_anything,
)
from pag_ros.lab.transformers.metres import BEYOND, Factor  # noqa: E402
from pag_ros.lab.transformers.scale_fit import ScaleFit  # noqa: E402
from pag_ros.lab.transformers.vit import turns_in  # noqa: E402

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module", autouse=True)
def _known_sizes() -> Iterator[None]:
    with known_sizes():
        yield


def picture(height: int, width: int) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def cubic(side: int, count: int) -> torch.Tensor:
    """[count,side] weights of cubic convolution (a = -.75), the grid a tenth of a patch larger."""
    weights = torch.zeros(count, side, dtype=torch.float64)
    for to in range(count):
        at = (to + 0.5) * side / (count + 0.1) - 0.5
        for place in range(math.floor(at) - 1, math.floor(at) + 3):
            off = abs(at - place)
            weight = (
                1.25 * off**3 - 2.25 * off**2 + 1.0
                if off <= 1.0
                else -0.75 * (off**3 - 5.0 * off**2 + 8.0 * off - 4.0)
            )
            weights[to, min(max(place, 0), side - 1)] += weight
    return weights.float()


def positions(learned: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    side = math.isqrt(learned.shape[1] - 1)
    if (rows, columns) == (side, side):
        return learned
    square = learned[0, 1:].view(side, side, -1)
    moved = torch.einsum("ra,cb,abd->rcd", cubic(side, rows), cubic(side, columns), square)
    return torch.cat([learned[:, :1], moved.reshape(1, rows * columns, -1)], 1)


def turned(x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """[heads,T,D]: in either half, of rows and of columns, channels are complex numbers."""
    halves = []
    for axis, part in enumerate(x.chunk(2, 2)):
        real, imaginary = part.chunk(2, 2)
        count = real.shape[2]
        rate = 100.0 ** (-torch.arange(count) / count)
        angle = places[:, axis, None] * rate
        number = torch.complex(real, imaginary) * torch.polar(torch.ones_like(angle), angle)
        halves += [number.real, number.imag]
    return torch.cat(halves, 2)


def normed(x: torch.Tensor, state: State, name: str, epsilon: float = 1e-5) -> torch.Tensor:
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    return F.layer_norm(x, weight.shape, weight, bias, epsilon)


def linear(x: torch.Tensor, state: State, name: str) -> torch.Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def published_features(
    state: State, image: torch.Tensor, alternating: int, taps: tuple[int, ...], heads: int
) -> list[torch.Tensor]:
    """[C,h,w] of a picture [1,3,H,W]; `alternating` beyond all blocks: a plain trunk."""
    trunk = "model.backbone.pretrained"
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
    patch = f"{trunk}.patch_embed.proj"
    x = (image - mean) / deviation
    x = F.conv2d(x, state[f"{patch}.weight"], state[f"{patch}.bias"], stride=14)[0]
    rows, columns = x.shape[1:]
    x = torch.cat([state[f"{trunk}.cls_token"][0], x.flatten(1).T])
    x = x + positions(state[f"{trunk}.pos_embed"], rows, columns)[0]
    own = [(0, 0), *((1 + row, 1 + column) for row in range(rows) for column in range(columns))]
    alike = [(0, 0), *[(1, 1)] * (rows * columns)]
    features = []
    for slot in range(BLOCKS):
        block = f"{trunk}.blocks.{slot}"
        if slot == alternating:
            x = torch.cat([state[f"{trunk}.camera_token"][0, :1], x[1:]])
        parts = linear(normed(x, state, f"{block}.norm1", 1e-6), state, f"{block}.attn.qkv")
        query, key, value = parts.view(len(x), 3, heads, -1).permute(1, 2, 0, 3)
        if slot >= alternating:
            places = torch.tensor(alike if slot % 2 else own).float()
            query = turned(normed(query, state, f"{block}.attn.q_norm"), places)
            key = turned(normed(key, state, f"{block}.attn.k_norm"), places)
        shares = (query @ key.transpose(1, 2) / math.sqrt(query.shape[2])).softmax(2)
        mixed = (shares @ value).transpose(0, 1).flatten(1)
        x = x + linear(mixed, state, f"{block}.attn.proj") * state[f"{block}.ls1.gamma"]
        wide = linear(normed(x, state, f"{block}.norm2", 1e-6), state, f"{block}.mlp.fc1")
        wide = 0.5 * wide * (1.0 + torch.erf(wide / math.sqrt(2.0)))
        x = x + linear(wide, state, f"{block}.mlp.fc2") * state[f"{block}.ls2.gamma"]
        if slot % 2 == 0:
            even = x
        if slot in taps:
            last = normed(x, state, f"{trunk}.norm")
            feature = torch.cat([even, last], 1) if alternating < BLOCKS else last
            features.append(feature[1:].T.unflatten(1, (rows, columns)))
    return features


def placed(x: torch.Tensor, aspect: float) -> torch.Tensor:
    """[1,C,h,w] and a tenth of the waves of its places, row by row and column by column."""
    channels, height, width = x.shape[1:]
    quarter = channels // 4
    rate = 100.0 ** (-torch.arange(quarter) / quarter)
    diagonal = math.sqrt(1.0 + aspect**2)
    waves = torch.empty(channels, height, width)
    for row in range(height):
        for column in range(width):
            u = aspect / diagonal * (2 * column + 1 - width) / width
            v = 1.0 / diagonal * (2 * row + 1 - height) / height
            parts = [(u * rate).sin(), (u * rate).cos(), (v * rate).sin(), (v * rate).cos()]
            waves[:, row, column] = torch.cat(parts)
    return x + 0.1 * waves


def conv(x: torch.Tensor, state: State, name: str) -> torch.Tensor:
    weight = state[f"model.head.{name}.weight"]
    return F.conv2d(x, weight, state.get(f"model.head.{name}.bias"), padding=weight.shape[2] // 2)


def residual(x: torch.Tensor, state: State, name: str) -> torch.Tensor:
    inner = conv(F.relu(x), state, f"{name}.conv1")
    return x + conv(F.relu(inner), state, f"{name}.conv2")


def enlarged(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def published_depth(
    state: State, features: list[torch.Tensor], has_places: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Depth [H,W], and what the last branches read."""
    rows, columns = features[0].shape[1:]
    aspect = columns / rows
    maps = []
    for number, feature in enumerate(features):
        x = feature[None]
        if has_places:
            x = normed(x.permute(0, 2, 3, 1), state, "model.head.norm").permute(0, 3, 1, 2)
        x = conv(x, state, f"projects.{number}")
        if has_places:
            x = placed(x, aspect)
        resize = f"model.head.resize_layers.{number}"
        if number < 2:
            weight, bias = state[f"{resize}.weight"], state[f"{resize}.bias"]
            x = F.conv_transpose2d(x, weight, bias, stride=weight.shape[2])
        if number == 3:
            weight, bias = state[f"{resize}.weight"], state[f"{resize}.bias"]
            x = F.conv2d(x, weight, bias, stride=2, padding=1)
        maps.append(conv(x, state, f"scratch.layer{number + 1}_rn"))
    path = None
    for number in (4, 3, 2, 1):
        fusion, finer = f"scratch.refinenet{number}", maps[number - 1]
        path = finer if path is None else path + residual(finer, state, f"{fusion}.resConfUnit1")
        path = residual(path, state, f"{fusion}.resConfUnit2")
        size = maps[number - 2].shape[2:] if number > 1 else (2 * path.shape[2], 2 * path.shape[3])
        path = conv(enlarged(path, size), state, f"{fusion}.out_conv")
    large = enlarged(conv(path, state, "scratch.output_conv1"), (14 * rows, 14 * columns))
    if has_places:
        large = placed(large, aspect)
    return branch(large, state, "output_conv2")[0].exp(), large


def branch(large: torch.Tensor, state: State, name: str) -> torch.Tensor:
    hidden = F.relu(conv(large, state, f"scratch.{name}.0"))
    return conv(hidden, state, f"scratch.{name}.2")[0]


@torch.no_grad()
@pytest.mark.parametrize("shape", [(70, 70), (70, 98), (98, 42)])
@pytest.mark.parametrize("size", ["v3-toy", "v3-toy-mono"])
def test_with_all_tokens_it_is_the_published_network(
    size: str, shape: tuple[int, int], tmp_path: Path
) -> None:
    path = saved(small_v3(size), tmp_path / "model.safetensors")
    state = load_file(path)
    trunk, head = SIZES[size]
    image = picture(*shape)
    features = published_features(
        state, image, trunk.alternating or BLOCKS, trunk.taps, trunk.heads
    )
    expected, _ = published_depth(state, features, head.has_places)
    ours = read_depth_anything(path)
    patches = shape[0] * shape[1] // 14**2
    for got in (ours(image), ours(image, [patches] * BLOCKS)):
        assert expected.std() > 0.05 * expected.mean()
        torch.testing.assert_close(got[0, 0], expected, rtol=1e-4, atol=0.0)


@torch.no_grad()
def test_metres_of_the_metric_one_grow_with_the_focal_length_and_the_sky_is_beyond(
    tmp_path: Path,
) -> None:
    path = saved(small_v3("v3-toy-metric", 1.0), tmp_path / "model.safetensors")
    state, image = load_file(path), picture(70, 98)
    trunk, _ = SIZES["v3-toy-metric"]
    features = published_features(state, image, BLOCKS, trunk.taps, trunk.heads)
    depth, large = published_depth(state, features, has_places=False)
    sky = branch(large, state, "sky_output_conv2")[0] >= 0.3
    assert 0.1 < sky.float().mean() < 0.9
    ours = read_depth_anything(path, 1.0)
    for focal_px in (150.0, 900.0):
        metres = focal_px / 300.0 * depth
        expected = torch.where(sky, torch.tensor(BEYOND), metres).clamp(max=BEYOND)
        got = ours(image, fx=torch.tensor([focal_px]))[0, 0]
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=0.0)
    assert (metres[~sky] > BEYOND).any()
    assert ours.farthest_m == 1.0


@torch.no_grad()
def test_one_factor_makes_metres_of_a_relative_one() -> None:
    network, image = small_v3(), picture(70, 98)
    relative = network(image)
    assert network.farthest_m is None
    assert network.gives_depth
    assert not network.is_inverse
    network.give_metres(ScaleFit(Factor(2.5, farthest_m=1.0), "", (1.0, 1.0), 0.0))
    assert network.farthest_m == 1.0
    metres = network(image)
    torch.testing.assert_close(metres, (2.5 * relative).clamp(max=BEYOND))
    assert (metres == BEYOND).any()
    assert (metres < BEYOND).any()


@torch.no_grad()
@pytest.mark.parametrize("slot", [ALTERNATING, ALTERNATING + 1])
def test_kept_tokens_are_turned_by_their_own_places(slot: int) -> None:
    """They ask all tokens: one block changes them as if none had been left out."""
    trunk = small_v3().pretrained
    turns = turns_in(trunk.config, slot, (5, 7))
    assert turns is not None
    x = torch.randn(2, 36, 48, generator=torch.Generator().manual_seed(2))
    kept = torch.tensor([[0, 9, 20, 35], [0, 5, 27, 1]])
    block = trunk.gated[slot]
    whole, part = block(x, None, turns=turns), block(x, kept, turns=turns)
    for row in range(2):
        torch.testing.assert_close(part[row, kept[row]], whole[row, kept[row]])
    assert not torch.allclose(whole, block(x, None), atol=0.01)


def test_nothing_is_turned_before_it_alternates_and_in_the_second_edition() -> None:
    assert turns_in(SIZES["v3-small"][0], 3, (5, 7)) is None
    assert turns_in(SIZES["v3-small"][0], 4, (5, 7)) is not None
    assert turns_in(SIZES["small"][0], 11, (5, 7)) is None


@torch.no_grad()
def test_with_fewer_tokens_features_are_near_those_of_all() -> None:
    network, image = small_v3(), picture(70, 98)
    whole = network(image).log()
    off = [float((network(image, [k] * BLOCKS).log() - whole).abs().mean()) for k in (34, 20, 5)]
    assert 0.0 < off[0] < off[1] < off[2]


@torch.no_grad()
def test_of_several_pictures_each_has_its_own_depth() -> None:
    network = small_v3()
    images = torch.cat([picture(70, 98), picture(70, 98).flip(3)])
    together = network(images, [9, 30, 7, 20, 12, 5])
    for row in range(2):
        alone = network(images[row : row + 1], [9, 30, 7, 20, 12, 5])
        torch.testing.assert_close(together[row], alone[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("size", "tensors"), [("v3-small", 269), ("v3-base", 269), ("v3-large", 469), ("v3-mono", 406)]
)
def test_as_many_tensors_are_read_as_are_published(size: str, tensors: int) -> None:
    with torch.device("meta"):
        network = GatedDepthAnything(size)
    assert sum("_aux" not in n and ".cam_" not in n for n in published(network)) == tensors


def test_what_is_for_other_tasks_is_counted_and_said(tmp_path: Path) -> None:
    network = read_depth_anything(saved(small_v3(), tmp_path / "model.safetensors"))
    assert network.size == "v3-toy"
    assert network.idle == 3
    assert network.idle_line().startswith("not used: 3 tensors of its cameras and rays")


def test_what_a_file_may_lack_is_not_left_to_chance(tmp_path: Path) -> None:
    network = read_depth_anything(saved(small_v3(), tmp_path / "model.safetensors"))
    for value in network.depth_head.scratch.refinenet4.resConfUnit1.parameters():
        assert not value.any()


def test_what_is_no_published_checkpoint_is_refused_in_a_line(tmp_path: Path) -> None:
    state = published(small_v3())
    sky = published(small_v3("v3-toy-mono"))
    cases = {
        "lacking": (
            {k: v for k, v in state.items() if "blocks.3.attn.q_norm" not in k},
            "lacks pretrained.blocks.3.attn.q_norm.weight (and 1 more)",
        ),
        "no_camera": (
            {k: v for k, v in state.items() if "camera_token" not in k},
            "lacks pretrained.camera_token (and 0 more)",
        ),
        "foreign": (
            {**state, "model.gs_head.norm.weight": torch.zeros(3)},
            "model.gs_head.norm.weight is none of Depth Anything 3's tensors",
        ),
        "of_two": (
            {**state, "pretrained.mask_tokens": torch.zeros(3)},
            "pretrained.mask_tokens is none of Depth Anything 3's tensors",
        ),
        "sky_of_another": (
            {**state, **{k: v for k, v in sky.items() if "sky" in k}},
            "none of Depth Anything 3's tensors",
        ),
        "shape": (
            {**state, "model.head.projects.0.bias": torch.zeros(7)},
            "depth_head.projects.0.bias is [7], expected [8]",
        ),
        "width": (
            {**state, "model.backbone.pretrained.pos_embed": torch.zeros(1, 26, 50)},
            "no Depth Anything 3 of v3-small, v3-base, v3-large",
        ),
        "nested": (
            {k.replace("model.", "model.da3."): v for k, v in state.items()},
            "no Depth Anything 3 of v3-small, v3-base, v3-large",
        ),
        "nan": (
            {**state, "model.backbone.pretrained.camera_token": torch.full((1, 2, 48), torch.nan)},
            "pretrained.camera_token",
        ),
    }
    for name, (content, text) in cases.items():
        path = tmp_path / f"{name}.safetensors"
        save_file(content, path)
        with pytest.raises(ModelError) as raised:
            read_depth_anything(path)
        message = str(raised.value)
        assert message.startswith(str(path)), message
        assert text in message
        assert "\n" not in message
    path = saved(small_v3(), tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"of this kind \(v3-toy\) is relative, not metric"):
        read_depth_anything(path, 20.0)
    path.write_bytes(path.read_bytes()[:10_000])
    with pytest.raises(ModelError, match="not a checkpoint of Depth Anything"):
        read_depth_anything(path)
