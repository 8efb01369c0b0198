"""A guide teaches what a batch has no truth for, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from pag_ros.lab.model import NetworkConfig, build_network  # noqa: E402
from pag_ros.lab.model.gating import DenseGating  # noqa: E402
from pag_ros.lab.training.guide import Guide  # noqa: E402
from pag_ros.lab.training.rooms import Rooms  # noqa: E402
from pag_ros.manifest import NO_LABEL  # noqa: E402

HEADS = ("depth", "normals", "segmentation")
NETWORK = NetworkConfig(heads=HEADS, classes=2, blocks=2, channels=16)


@pytest.fixture
def batch(rooms: Path) -> dict[str, torch.Tensor]:
    """Three samples; the second has no depth, the third no labels."""
    torch.manual_seed(3)
    data = Rooms([rooms], (64, 48), train=False)
    items = [data[number] for number in range(3)]
    batch = {name: torch.stack([item[name] for item in items]) for name in items[0]}
    batch["depth"][1] = torch.nan
    batch["labels"][2] = NO_LABEL
    return batch


def outputs_of(network: torch.nn.Module, image: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        return network(image.float(), DenseGating())


def test_it_runs_on_the_samples_that_lack_a_truth_alone(batch: dict[str, torch.Tensor]) -> None:
    network = build_network(NETWORK).eval()
    seen = []
    network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    taught = Guide(network, HEADS, holds=True).outputs(batch)
    assert set(taught) == {"depth", "segmentation"}
    assert seen == [2]
    assert not taught["depth"][0].any()
    expected = outputs_of(network, batch["image"][1:])
    for head in taught:
        torch.testing.assert_close(taught[head][1:], expected[head], atol=0.05, rtol=0.05)


def test_where_all_truth_is_known_it_is_not_run(rooms: Path) -> None:
    item = Rooms([rooms], (64, 48), train=False)[0]
    network = build_network(NETWORK).eval()
    network.register_forward_pre_hook(lambda *_: pytest.fail("it was run"))
    guide = Guide(network, HEADS, holds=True)
    assert guide.outputs({name: value[None] for name, value in item.items()}) == {}


@pytest.mark.parametrize("holds", [True, False])
def test_it_sees_the_picture_itself_to_hold_and_the_plain_one_to_improve(
    batch: dict[str, torch.Tensor], holds: bool
) -> None:
    guide = Guide(build_network(NETWORK).eval(), HEADS, holds)
    other = 255 - batch["image"]
    flawed = {**batch, "plain": other} if holds else {**batch, "plain": batch["image"]}
    flawed["image"] = batch["image"] if holds else other
    for head, values in guide.outputs(batch).items():
        assert torch.equal(guide.outputs(flawed)[head], values), head


@pytest.mark.parametrize(("holds", "distance"), [(False, 0.0), (True, 0.5)])
def test_a_scale_of_its_own_counts_only_to_hold(
    batch: dict[str, torch.Tensor], holds: bool, distance: float
) -> None:
    guide = Guide(build_network(NETWORK).eval(), HEADS, holds)
    taught = guide.outputs(batch)
    student = {**taught, "depth": taught["depth"] + 0.5}
    losses = guide.losses(student, taught, batch)
    assert float(losses["depth"]) == pytest.approx(distance, abs=1e-5)
    assert float(losses["segmentation"]) == pytest.approx(0.0, abs=1e-5)


def test_samples_with_a_truth_do_not_count(batch: dict[str, torch.Tensor]) -> None:
    guide = Guide(build_network(NETWORK).eval(), HEADS, holds=True)
    taught = guide.outputs(batch)
    student = {head: value.clone() for head, value in taught.items()}
    student["depth"][0] += 1.0
    student["segmentation"][1, 0] += 5.0
    assert all(float(loss) < 1e-5 for loss in guide.losses(student, taught, batch).values())
