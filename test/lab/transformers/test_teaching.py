"""Gates learn from the network alone which tokens it can do without; nothing else of it changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402

from pag_ros.cli import main  # noqa: E402
from pag_ros.errors import DatasetError, ModelError, ParameterError  # noqa: E402
from pag_ros.lab.model.gating import TopKGating  # noqa: E402
from pag_ros.lab.training import arithmetic  # noqa: E402
from pag_ros.lab.transformers import adopt as adopting  # noqa: E402
from pag_ros.lab.transformers import depth_anything, teaching  # noqa: E402
from pag_ros.lab.transformers.depth_anything import GatedDepthAnything  # noqa: E402
from pag_ros.lab.transformers.dpt import DptConfig  # noqa: E402
from pag_ros.lab.transformers.gates import load_gates, save_gates  # noqa: E402
from pag_ros.lab.transformers.metres import ScaleAndShift  # noqa: E402
from pag_ros.lab.transformers.pictures import held_back, open_pictures, read_pictures  # noqa: E402
from pag_ros.lab.transformers.scale_fit import ScaleFit  # noqa: E402
from pag_ros.lab.transformers.sharing import counts  # noqa: E402
from pag_ros.lab.transformers.teaching import (  # noqa: E402
    Lesson,
    TokenGates,
    choose_tilt,
    depth_loss,
    draw_densities,
    losses,
    masked_outputs,
    teach,
)
from pag_ros.lab.transformers.vit import VitConfig  # noqa: E402
from pag_ros.manifest import load_manifest  # noqa: E402

SIZE, GRID = (112, 84), (6, 8)
PATCHES, BLOCKS = 48, 4
FEW, MANY = 6, 24
"""Patches of a picture that matter."""


@pytest.fixture(scope="module", autouse=True)
def _known_size():
    trunk = VitConfig(32, BLOCKS, 2, (0, 1, 2, 3), grid=4)
    depth_anything.SIZES["taught"] = trunk, DptConfig(32, (8, 8, 8, 8), 8)
    adopting.LICENCES["taught"] = "none"
    yield
    del depth_anything.SIZES["taught"], adopting.LICENCES["taught"]


def network_of_bright_patches(seed: int = 0) -> GatedDepthAnything:
    """Channel 0 of a token is how bright its patch is; the blocks change bright tokens alone."""
    torch.manual_seed(seed)
    network = GatedDepthAnything("taught", 20.0)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape) * 0.15
    embedding = network.pretrained.patch_embed.proj
    embedding.weight.data *= 0.3
    embedding.weight.data[0] = 4.0 / (3 * 14 * 14)
    network.pretrained.pos_embed.data *= 0.0
    for block in network.pretrained.gated:
        block.ls1.gamma.data *= 0.0
        block.ls2.gamma.data[:] = 1.0
        block.norm2.weight.data[:], block.norm2.bias.data[:] = 1.0, 0.0
        block.mlp.fc1.weight.data *= 0.0
        block.mlp.fc1.weight.data[:, 0] = 2.0
        block.mlp.fc1.bias.data[:] = -2.0
        block.mlp.fc2.weight.data *= 0.3
        block.mlp.fc2.weight.data[0], block.mlp.fc2.bias.data[:] = 0.0, 0.0
    return network.eval()


def pictures(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """[N,3,H,W] uint8 of dark noise with `FEW` or `MANY` bright patches, and which [N,P] bool."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 100, (count, 3, SIZE[1], SIZE[0])).astype(np.uint8)
    bright = np.zeros((count, PATCHES), bool)
    for number in range(count):
        chosen = rng.choice(PATCHES, FEW if number % 2 else MANY, replace=False)
        bright[number, chosen] = True
        mask = np.kron(bright[number].reshape(GRID), np.ones((14, 14), bool))
        images[number, :, mask] += 150
    return torch.from_numpy(images), torch.from_numpy(bright)


def scores(
    network: GatedDepthAnything, images: torch.Tensor, equally_new: bool = False
) -> list[torch.Tensor]:
    """[N,P] of each block, all tokens kept before it; as if all were equally new."""
    mean, deviation = (
        torch.tensor(v).view(1, 3, 1, 1) for v in (depth_anything.MEAN, depth_anything.DEVIATION)
    )
    trunk, found = network.pretrained, []
    x = trunk.tokens((images / 255.0 - mean) / deviation)
    kin = None
    for block in trunk.gated:
        kin = trunk.kin(block, x, GRID, kin)
        novelty = kin.novelty.mean().expand_as(kin.novelty) if equally_new else kin.novelty
        found.append(block.gate(x[:, 1:], novelty))
        x = block(x, None)
    return found


@pytest.fixture(scope="module")
def lesson() -> Lesson:
    # How new a token is would tell gates enough, so few steps need not find the rest: of most seeds
    # three blocks do, of this one all, in bfloat16 and in float32.
    return Lesson(minutes=10.0, steps=60, batch=8, seed=1)


@pytest.fixture(scope="module")
def taught(_known_size, lesson: Lesson):
    network = network_of_bright_patches()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images, _ = pictures(48, 1)
    unseen, bright = pictures(8, 2)
    result = teach(network, images, unseen, lesson)
    return network, before, result, unseen, bright


@torch.no_grad()
def test_it_finds_the_tokens_that_matter(taught) -> None:
    network, _, _, unseen, bright = taught
    for score in scores(network, unseen, equally_new=True):
        found = 0
        for one, truth in zip(score, bright, strict=True):
            found += int(truth[one.argsort(descending=True)[: int(truth.sum())]].sum())
        assert found > 0.6 * int(bright.sum()), "chance finds .31"


@torch.no_grad()
def test_a_threshold_means_the_same_in_every_picture_and_block(taught) -> None:
    network, _, _, unseen, bright = taught
    for score in scores(network, unseen, equally_new=True):
        assert torch.quantile(score[bright], 0.4) > torch.quantile(score[~bright], 0.6)
    for score in scores(network, unseen):
        assert abs(float(score.mean())) < 0.5
        assert 0.5 < float(score.std()) < 2.0


def test_it_loses_less_than_before_and_says_so(taught) -> None:
    network, _, result, unseen, _ = taught
    assert result.steps == 60
    assert result.after == losses(network, unseen)
    assert result.after[0.5] < 0.3 * result.before[0.5]
    assert result.after[0.3] < result.before[0.3]
    assert f"at 0.5 {result.before[0.5]:.4f} -> {result.after[0.5]:.4f}" in result.line()


def test_it_stops_after_a_step_and_keeps_what_it_has_learned() -> None:
    network = network_of_bright_patches()
    before = network.pretrained.gated[0].gate.weight.clone()
    images, _ = pictures(8, 1)
    shares: list[float] = []
    result = teach(
        network,
        images,
        images[:4],
        Lesson(minutes=10.0, batch=4),
        lambda share, loss: shares.append(share),
        lambda: len(shares) == 3,
    )
    assert result.steps == 3
    assert not torch.equal(network.pretrained.gated[0].gate.weight, before)


def test_of_many_pictures_held_back_some_are_measured_all_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured: list[torch.Tensor] = []
    monkeypatch.setattr(teaching, "losses", lambda network, shown: measured.append(shown) or {})
    images, _ = pictures(9, 1)
    teach(network_of_bright_patches(), images, images, Lesson(steps=1, batch=2))
    assert torch.equal(measured[0], images[[0, 2, 5, 8]])


def test_nothing_learns_but_the_gates(taught) -> None:
    network, before, _, _, _ = taught
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]) != (".gate." in name), name
    assert all(p.requires_grad and p.grad is None for p in network.parameters())


@torch.no_grad()
def test_the_student_is_the_network_that_will_run(taught, monkeypatch) -> None:
    """Its masks, with the learned gates' scores, give what the gathered tokens give."""
    monkeypatch.setattr(arithmetic, "bfloat16_is_faster", lambda device: False)
    _, before, _, unseen, _ = taught
    network = network_of_bright_patches()
    network.load_state_dict(before)
    for block in network.pretrained.gated:
        block.ls1.gamma.data[:] = 1.0  # the class token's keys and values count
    gates = TokenGates(network, unseen)
    gates.write(network.pretrained.gated)
    keep = [7, 20, 41, 30]
    masking = TopKGating(torch.tensor(keep) / PATCHES)
    mean, deviation = (
        torch.tensor(v).view(1, 3, 1, 1) for v in (depth_anything.MEAN, depth_anything.DEVIATION)
    )

    def mask(x: torch.Tensor, slot: int) -> torch.Tensor:
        chosen = masking.mask(gates.score(x, slot)[:, None, None], slot)[:, 0, 0]
        assert chosen.sum(1).tolist() == [keep[slot]] * len(x)
        return chosen

    image = (unseen / 255.0 - mean) / deviation
    student = masked_outputs(network, image, mask).features
    for ours, theirs in zip(student, network.pretrained(image, keep), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_a_patch_learns_from_those_that_it_stands_for() -> None:
    """1 is left out and takes the change of 0, 2 is computed and takes none."""
    change, parent = torch.tensor([[[3.0], [5.0], [7.0]]]), torch.tensor([[0, 0, 1]])
    chosen = torch.tensor([[1.0, 0.0, 1.0]], requires_grad=True)
    taken = teaching._inherited(change, chosen, parent)
    assert taken.flatten().tolist() == [3.0, 3.0, 7.0]
    taken[0, 1].sum().backward()
    assert chosen.grad is not None
    # Without 0 it would have none of 3; with itself it would have 5 in place of 3.
    assert chosen.grad.flatten().tolist() == [3.0, 2.0, 0.0]


def test_every_budget_and_every_way_to_share_it_is_drawn() -> None:
    drawn = draw_densities(5, 400, Lesson(lowest=0.2), torch.Generator().manual_seed(0))
    assert drawn.shape == (400, 5)
    assert 0.0 < float(drawn.min()) < 0.05
    assert float(drawn.max()) == 1.0
    middle = drawn.mean(1)
    assert 0.1 < float(middle.min()) < 0.3
    assert float(middle.max()) > 0.95
    fall = drawn[:, 0] - drawn[:, -1]
    assert float(fall.min()) < -0.5
    assert float(fall.max()) > 0.5
    even = draw_densities(5, 400, Lesson(spread=0.0), torch.Generator().manual_seed(0))
    assert float((even[:, 0] + even[:, 4] - 2 * even[:, 2]).abs().max()) < 1e-5


@pytest.mark.parametrize("tilt", [-0.9, -0.3, 0.0, 0.5])
def test_blocks_share_a_budget_exactly_and_a_larger_one_takes_nothing_away(tilt: float) -> None:
    before = [0] * 8
    for budget in np.linspace(0.0, 1.0, 21):
        keep = counts(float(budget), tilt, 8, 192)
        assert abs(sum(keep) - budget * 8 * 192) <= 4
        assert all(0 <= old <= new <= 192 for old, new in zip(before, keep, strict=True))
        assert tilt == 0.0 or budget in (0.0, 1.0) or (keep[0] > keep[7]) == (tilt < 0.0)
        before = keep
    assert before == [192] * 8


@torch.no_grad()
def test_more_goes_to_the_blocks_that_change_more() -> None:
    """The last blocks do nothing: what they are given is lost."""
    network = network_of_bright_patches()
    for block in network.pretrained.gated[2:]:
        block.ls2.gamma.data[:] = 0.0
    images, _ = pictures(4, 5)
    choose_tilt(network, images)
    assert network.tilt <= -0.6


def test_a_relative_network_with_metres_is_judged_in_metres() -> None:
    """Its depth is the same at every budget but for a disparity that the shift makes little of."""
    network = network_of_bright_patches()
    network.depth_head.config = replace(network.depth_head.config, max_depth_m=None)
    network.depth_head.scratch.output_conv2[2].bias.data += 5.0
    pictures = torch.randint(0, 256, (2, 3, SIZE[1], SIZE[0]), dtype=torch.uint8)
    relative = losses(network, pictures, [0.3])[0.3]
    network.give_metres(ScaleFit(ScaleAndShift(1e-4, 1.0, 8.0), "", (1.0, 1.0), 0.0))
    assert 0.0 < losses(network, pictures, [0.3])[0.3] < 0.01 * relative


def test_relative_depth_has_no_scale() -> None:
    torch.manual_seed(0)
    depth, whole = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8)
    assert depth_loss(whole, whole, metric=False) == 0.0
    assert depth_loss(whole, whole, metric=True) == 0.0
    loss = depth_loss(depth, whole, metric=False)
    torch.testing.assert_close(depth_loss(7 * depth, 7 * whole, metric=False), loss)
    assert depth_loss(1.1 * whole, whole, metric=True) == pytest.approx(np.log(1.1), rel=1e-3)


def test_gates_come_back_from_their_file(taught, tmp_path: Path) -> None:
    network, before, _, _, _ = taught
    network.taught_on, network.tilt = "taught on bright patches", -0.4
    save_gates(network, tmp_path / "a.gates.safetensors")
    fresh = network_of_bright_patches()
    fresh.load_state_dict(before)
    load_gates(fresh, tmp_path / "a.gates.safetensors")
    assert (fresh.taught_on, fresh.tilt) == (network.taught_on, network.tilt)
    for name, value in network.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value)


def test_gates_that_do_not_fit_are_refused_in_a_line(taught, tmp_path: Path) -> None:
    network = taught[0]
    path = tmp_path / "a.gates.safetensors"
    save_gates(network, path)
    with pytest.raises(ModelError, match="taught for another checkpoint"):
        load_gates(network_of_bright_patches(seed=1), path)
    path.write_bytes(path.read_bytes()[:100])
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    for bad in (path, tmp_path / "other.safetensors", tmp_path / "missing.safetensors"):
        with pytest.raises(ModelError) as raised:
            load_gates(network, bad)
        assert str(bad) in str(raised.value)
        assert "\n" not in str(raised.value)
    broken = network_of_bright_patches()
    broken.pretrained.gated[1].gate.bias.data[:] = torch.nan
    with pytest.raises(ModelError, match=r"blocks\.1\.gate\.bias"):
        save_gates(broken, tmp_path / "nan.safetensors")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cv2 = pytest.importorskip("cv2")
    (tmp_path / "pictures").mkdir()
    for number, image in enumerate(pictures(20, 3)[0].permute(0, 2, 3, 1).numpy()):
        cv2.imwrite(str(tmp_path / "pictures" / f"{number:02}.png"), image)
    return tmp_path / "pictures"


def test_pictures_of_any_folder_are_read_at_the_networks_size(folder: Path) -> None:
    dataset = open_pictures(str(folder))
    images = read_pictures(dataset, (56, 42))
    assert images.shape == (20, 3, 42, 56)
    assert len(images.flatten(1).unique(dim=0)) == 20
    learned, unseen = held_back(images)
    assert len(learned) == 18
    assert torch.equal(torch.cat([learned, unseen]), images)


@pytest.mark.usefixtures("without_standard_graph")
def test_the_command_teaches_and_what_it_wrote_is_taken_again(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = network_of_bright_patches()
    state = {k: v for k, v in network.state_dict().items() if ".gate." not in k}
    checkpoint = tmp_path / "metric.pth"
    torch.save(state, checkpoint)
    command = ["adopt", str(checkpoint), "--size", "112x84", "--max-depth", "20", "--out"]
    one, other = tmp_path / "one", tmp_path / "other"
    assert main([*command, str(one), "--teach", str(folder), "--minutes", "0.01"]) == 0
    said = capsys.readouterr().out
    assert "|log depth| off the whole network's: at 0.7" in said
    assert "learned nothing" not in said
    gates = one / "metric.gates.safetensors"
    assert len(load_file(gates)) == 2 * BLOCKS
    assert main([*command, str(other), "--gates", str(gates)]) == 0
    first, second = load_manifest(one / "metric.onnx"), load_manifest(other / "metric.onnx")
    assert (first.sha256, first.budgets) == (second.sha256, second.budgets)
    assert first.training_data.endswith("gates taught on pictures pictures (18 pictures)")


def test_what_cannot_be_taught_on_is_said_in_a_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="minutes must lie above 0"):
        Lesson(minutes=0.0)
    with pytest.raises(DatasetError, match="no such folder"):
        open_pictures(str(tmp_path / "missing"))
    for path in sorted(folder.iterdir())[:5]:
        path.unlink()
    with pytest.raises(DatasetError, match="15 pictures; gates are taught on 16 or more"):
        open_pictures(str(folder))
    checkpoint = str(tmp_path / "any.pth")
    command = ["adopt", checkpoint, "--out", str(tmp_path), "--max-depth", "20"]
    assert main([*command, "--teach", str(folder)]) != 0


def test_of_depth_anything_3_the_student_is_the_gated_network() -> None:
    from small_v3 import BLOCKS, known_sizes, small_v3

    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 3, SIZE[1], SIZE[0], generator=generator)
    keep = [30, 9, 40, 5, 20, 11]
    with known_sizes(), torch.no_grad():
        network = small_v3()
        blocks = network.pretrained.gated

        def mask(seen: torch.Tensor, slot: int) -> torch.Tensor:
            score = blocks[slot].gate(seen[..., :-1], seen[..., -1])
            last = score.topk(keep[slot]).values[:, -1:]
            return (score >= last).float()

        student = masked_outputs(network, image, mask)
        for ours, theirs in zip(student.features, network.pretrained(image, keep), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
        whole = masked_outputs(network, image, None)
        torch.testing.assert_close(whole.depth, network.depth_head(network.pretrained(image)))
        assert len(whole.features) == 4
        assert len(blocks) == BLOCKS


def test_relative_depth_of_depth_anything_3_is_compared_as_depth() -> None:
    """It is an exponential: half as far is as much off as twice as far."""
    from small_v3 import known_sizes, small_v3

    pictures = torch.randint(0, 256, (2, 3, SIZE[1], SIZE[0]), dtype=torch.uint8)
    with known_sizes(), torch.no_grad():
        network = small_v3()
        relative = losses(network, pictures, [0.3])[0.3]
        off = []
        for picture in pictures:
            image = picture[None] / 255.0
            gated = network(image, network.keep_for(0.3, PATCHES))
            off.append(float((gated.log() - network(image).log()).abs().mean()))
    assert relative == pytest.approx(np.mean(off), rel=1e-4)
