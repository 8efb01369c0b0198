"""The gated network is the published one where every token is kept, and reads its checkpoints.

The published weights are not at hand where these tests run: random ones of the same names and
shapes are compared through Hugging Face's own implementation.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from pag_ros.errors import ModelError  # noqa: E402
from pag_ros.lab.model.operators import no_limits  # noqa: E402
from pag_ros.lab.transformers.deployed import DeployedDepthAnything  # noqa: E402
from pag_ros.lab.transformers.depth_anything import (  # noqa: E402
    DEVIATION,
    MEAN,
    SIZES,
    GatedDepthAnything,
    published_names,
    read_depth_anything,
)
from pag_ros.lab.transformers.likeness import GENERATIONS  # noqa: E402
from pag_ros.lab.transformers.metres import ScaleAndShift  # noqa: E402
from pag_ros.lab.transformers.scale_fit import ScaleFit  # noqa: E402
from pag_ros.lab.transformers.variants import DeclaredVariant, declared_variant  # noqa: E402
from pag_ros.lab.transformers.vit import Vit, VitConfig  # noqa: E402

TINY = VitConfig(48, 4, 3, (0, 1, 2, 3), registers=2, grid=5)


def lively(network: torch.nn.Module) -> torch.nn.Module:
    """Random in all its parts: layer scales of 1 and zero tokens would hide mistakes."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.05
    return network.eval()


@pytest.fixture(scope="module")
def published() -> GatedDepthAnything:
    network = GatedDepthAnything("small")
    return lively(network)


def authors_state(network: GatedDepthAnything) -> dict[str, torch.Tensor]:
    state = {k: v for k, v in network.state_dict().items() if ".gate." not in k}
    return {**state, "pretrained.mask_token": torch.zeros(1, 384)}


@pytest.fixture
def checkpoint(published: GatedDepthAnything, tmp_path: Path) -> Path:
    path = tmp_path / "depth_anything_v2_vits.pth"
    torch.save(authors_state(published), path)
    return path


def picture(height: int, width: int) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize(("size", "metric"), [("small", None), ("small", 20.0), ("base", None)])
@pytest.mark.parametrize("shape", [(70, 98), (518, 518)])
def test_with_all_tokens_it_is_hugging_faces(
    size: str, metric: float | None, shape: tuple[int, int], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers", reason="pip install transformers")
    if size == "base" and shape == (518, 518):
        pytest.skip("the same code as at the other size, and slow")
    trunk, head = SIZES[size]
    backbone = transformers.Dinov2Config(
        hidden_size=trunk.width,
        num_hidden_layers=trunk.depth,
        num_attention_heads=trunk.heads,
        image_size=518,
        patch_size=14,
        out_indices=[tap + 1 for tap in trunk.taps],
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=trunk.width,
        neck_hidden_sizes=list(head.channels),
        fusion_hidden_size=head.features,
        depth_estimation_type="relative" if metric is None else "metric",
        max_depth=int(metric or 1),
    )
    theirs = lively(transformers.DepthAnythingForDepthEstimation(config))
    theirs.head.conv3.bias.data += 1.0  # a relative depth below 0 would be 0 all over
    theirs.save_pretrained(tmp_path)  # under the names of published files
    ours = read_depth_anything(tmp_path / "model.safetensors", metric)
    image = picture(*shape)
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
    expected = theirs(pixel_values=(image - mean) / deviation).predicted_depth
    got = ours(image)[:, 0]
    assert expected.std() > 1e-4 * expected.abs().mean()
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    assert declared_variant(tmp_path / "model.safetensors") == DeclaredVariant(
        metric, "config.json"
    )
    if metric is None:
        depth = _deployed_depth(ours, image)
        disparity = (1.0 / depth - METRES.shift) / METRES.scale
        expected = theirs(pixel_values=(_of_bytes(image) - mean) / deviation).predicted_depth
        torch.testing.assert_close(disparity, expected, atol=1e-4, rtol=1e-4)


METRES = ScaleAndShift(0.3, 0.05, farthest_m=20.0)


def _of_bytes(image: torch.Tensor) -> torch.Tensor:
    """Rounded to 8 bits, as a camera gives it."""
    return (image * 255.0).round() / 255.0


def _deployed_depth(network: GatedDepthAnything, image: torch.Tensor) -> torch.Tensor:
    """[1,H,W] metres, of the graph that a robot runs, every patch kept."""
    network.give_metres(ScaleFit(METRES, "", (1.0, 1.0), 0.0))
    blocks, patches = len(network.pretrained.gated), image.shape[2] * image.shape[3] // 14**2
    picture = (image * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1)
    keep = torch.full((blocks,), patches, dtype=torch.int32)
    outputs = DeployedDepthAnything(network)(picture, torch.tensor([90.0]), keep, no_limits(blocks))
    return outputs[0]


@torch.no_grad()
def test_a_checkpoint_of_the_authors_gives_the_network_it_was_made_of(
    published: GatedDepthAnything, checkpoint: Path
) -> None:
    image = picture(42, 56)
    torch.testing.assert_close(read_depth_anything(checkpoint)(image), published(image))
    metric = read_depth_anything(checkpoint, 20.0)(image)
    assert 0.0 < float(metric.min()) <= float(metric.max()) < 20.0


@torch.no_grad()
def test_keeping_all_tokens_is_the_dense_network() -> None:
    trunk = lively(Vit(TINY))
    image = picture(70, 42)
    dense, gated = trunk(image), trunk(image, [15] * 4)
    assert [feature.shape for feature in dense] == [(1, 48, 5, 3)] * 4
    for one, other in zip(dense, gated, strict=True):
        torch.testing.assert_close(one, other)


@torch.no_grad()
def test_tokens_that_are_left_out_change_as_one_that_is_computed() -> None:
    trunk = lively(Vit(TINY))
    block, seen = trunk.blocks[2], []
    block.register_forward_hook(lambda _, args, result: seen.append((*args, result)))
    trunk(picture(70, 70), [25, 25, 7, 25])
    ((before, kept, parent, after),) = seen
    assert kept.shape == (1, 1 + 2 + 7)
    assert set(kept[0, :3].tolist()) == {0, 1, 2}, "class token and registers always stay"
    whole = block.forward(before, None)
    torch.testing.assert_close(after[0, kept[0]], whole[0, kept[0]], atol=1e-5, rtol=1e-5)
    change, computed, left_out = (after - before)[0], set(kept[0].tolist()), 0
    for token in range(3, 28):
        line = [token]
        while len(line) <= GENERATIONS:
            line.append(int(parent[0, line[-1] - 3]) + 3)
        nearest = next((t for t in line if t in computed), None)
        expected = torch.zeros(48) if nearest is None else change[nearest]
        left_out += nearest is not None and token not in computed
        torch.testing.assert_close(change[token], expected, atol=1e-5, rtol=1e-5)
    assert left_out > 8


@torch.no_grad()
def test_of_several_pictures_each_has_its_own_changes() -> None:
    trunk = lively(Vit(TINY))
    images = torch.cat([picture(70, 70), picture(70, 70).flip(3)])
    together = trunk(images, [9, 3, 7, 5])
    for row in range(2):
        for ours, alone in zip(together, trunk(images[row : row + 1], [9, 3, 7, 5]), strict=True):
            torch.testing.assert_close(ours[row], alone[0], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_without_parents_tokens_that_are_left_out_keep_their_value() -> None:
    trunk = lively(Vit(TINY))
    x = torch.randn(1, 28, 48)
    changed = (trunk.blocks[0](x, torch.tensor([[0, 1, 2, 9, 20]])) != x).any(2)[0]
    assert changed.nonzero().flatten().tolist() == [0, 1, 2, 9, 20]


@torch.no_grad()
def test_kept_tokens_are_what_they_are_in_the_dense_block() -> None:
    """They ask all tokens: one block changes them as if none had been left out."""
    trunk = lively(Vit(TINY))
    x = torch.randn(2, 28, 48, generator=torch.Generator().manual_seed(2))
    kept = torch.tensor([[0, 1, 2, 9, 20], [0, 1, 2, 5, 27]])
    whole, part = trunk.blocks[0](x, None), trunk.blocks[0](x, kept)
    for row in range(2):
        torch.testing.assert_close(part[row, kept[row]], whole[row, kept[row]])


@torch.no_grad()
def test_a_block_keeps_the_tokens_of_the_highest_scores() -> None:
    trunk = lively(Vit(TINY))
    block, seen = trunk.blocks[0], []
    block.register_forward_hook(lambda _, args, result: seen.append((args[0], args[1])))
    trunk(picture(70, 70), [6, 25, 25, 25])
    ((x, kept),) = seen
    novelty = trunk.kin(block, x, (5, 5), None).novelty
    best = block.gate(x[:, 3:], novelty)[0].argsort(descending=True)[:6] + 3
    assert set(kept[0, 3:].tolist()) == set(best.tolist())


@torch.no_grad()
def test_registers_stand_behind_the_class_token_and_have_no_place(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="pip install transformers")
    config = transformers.Dinov2WithRegistersConfig(
        hidden_size=48,
        num_hidden_layers=4,
        num_attention_heads=3,
        image_size=70,
        patch_size=14,
        num_register_tokens=2,
        mlp_ratio=4,
    )
    theirs = lively(transformers.Dinov2WithRegistersModel(config))
    theirs.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    named = published_names({f"backbone.{name}": value for name, value in stored.items()})
    ours = lively(Vit(TINY))
    plain = {name.removeprefix("pretrained."): value for name, value in named.items()}
    problems = ours.load_state_dict(plain, strict=False)
    assert problems.unexpected_keys == ["mask_token"]
    assert all(".gate." in name for name in problems.missing_keys)
    image = picture(70, 70)
    expected = theirs(image).last_hidden_state[:, 3:].transpose(1, 2).unflatten(2, (5, 5))
    torch.testing.assert_close(ours(image)[3], expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_gates_that_have_learned_nothing_prefer_what_is_new(checkpoint: Path) -> None:
    for block in read_depth_anything(checkpoint).pretrained.gated:
        novelty = torch.randn(1, 30)
        assert torch.equal(
            block.gate(torch.randn(1, 30, block.gate.weight.shape[0] - 1), novelty), novelty
        )


class Code:
    def __reduce__(self):
        return os.system, ("true",)


def test_what_is_no_published_checkpoint_is_refused_in_a_line(
    published: GatedDepthAnything, checkpoint: Path, tmp_path: Path
) -> None:
    state = authors_state(published)
    cases = {
        "code.pth": (
            {**state, "x": Code()},
            "holds more than tensors, and code in a file is never run",
        ),
        "list.pth": ([1, 2], "expected names and tensors, as published"),
        "other.pth": (
            {"conv.weight": torch.zeros(3)},
            "no Depth Anything V2 of small, base, large",
        ),
        "lacking.pth": (
            {k: v for k, v in state.items() if "blocks.7.mlp" not in k},
            "lacks pretrained.blocks.7.mlp.fc1.weight (and 3 more)",
        ),
        "foreign.pth": (
            {**state, "pretrained.blocks.12.ls1.gamma": torch.zeros(384)},
            "pretrained.blocks.12.ls1.gamma is none of Depth Anything V2's tensors",
        ),
        "shape.pth": (
            {**state, "depth_head.projects.0.bias": torch.zeros(47)},
            "depth_head.projects.0.bias is [47], expected [48]",
        ),
        "nan.pth": (
            {**state, "pretrained.norm.bias": torch.full((384,), torch.nan)},
            "pretrained.norm.bias",
        ),
    }
    for name, (content, text) in cases.items():
        path = tmp_path / name
        torch.save(content, path)
        with pytest.raises(ModelError) as raised:
            read_depth_anything(path)
        message = str(raised.value)
        assert message.startswith(str(path)), message
        assert text in message
        assert "\n" not in message
    cut = tmp_path / "cut.pth"
    cut.write_bytes(checkpoint.read_bytes()[:100_000])
    for path in (cut, tmp_path / "missing.pth", tmp_path / "missing.safetensors"):
        with pytest.raises(ModelError) as raised:
            read_depth_anything(path)
        assert str(path) in str(raised.value)
