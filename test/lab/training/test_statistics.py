"""Statistics become those of the data, scores get a unit, and nothing else changes."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from pag_ros.lab.model import NetworkConfig, PagNetwork, build_network  # noqa: E402
from pag_ros.lab.model.gating import DenseGating, TopKGating  # noqa: E402
from pag_ros.lab.training.statistics import recalibrate, standardise_gates  # noqa: E402


def network() -> PagNetwork:
    torch.manual_seed(0)
    return build_network(NetworkConfig(blocks=1, channels=16, multipool=False, classes=2)).eval()


def half() -> TopKGating:
    return TopKGating(torch.tensor([0.5]))


def first_norm(net: PagNetwork) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    return net.trunk[0].conv1, net.trunk[0].bn1


def test_statistics_are_the_mean_over_the_batches() -> None:
    net = network()
    images = [torch.rand(2, 3, 32, 48) * 255 for _ in range(3)]
    seen: list[torch.Tensor] = []
    conv, norm = first_norm(net)
    hook = conv.register_forward_hook(lambda _, __, y: seen.append(y.mean((0, 2, 3))))
    recalibrate(net, images, lambda _: DenseGating(), keep=[net.encoder])
    hook.remove()
    assert torch.allclose(norm.running_mean, torch.stack(seen).mean(0), atol=1e-5)
    assert norm.momentum == 0.1
    assert not any(module.training for module in net.modules())


def test_kept_modules_and_all_weights_stay() -> None:
    net, before = network(), network().state_dict()
    recalibrate(net, [torch.rand(2, 3, 32, 48)], lambda _: DenseGating(), keep=[net.encoder])
    for name, value in net.state_dict().items():
        changed = "running" in name or name.endswith("num_batches_tracked")
        if name.startswith("encoder.") or not changed:
            assert torch.equal(value, before[name]), name
    assert not torch.equal(first_norm(net)[1].running_var, before["trunk.0.bn1.running_var"])


def test_without_data_nothing_changes() -> None:
    net, before = network(), network().state_dict()
    recalibrate(net, [], lambda _: DenseGating())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_scores_get_a_unit_and_keep_their_order() -> None:
    net = network()
    net.trunk[0].gate.weight.data.normal_(0.0, 50.0)
    images = [torch.rand(2, 3, 32, 48) * 255 for _ in range(3)]
    before = scores_of(net, images)
    standardise_gates(net, images, lambda _: half())
    after = scores_of(net, images)
    assert float(after.mean()) == pytest.approx(0.0, abs=2e-3)
    assert float(after.std()) == pytest.approx(1.0, rel=1e-3)
    assert torch.corrcoef(torch.stack([before, after]))[0, 1] == pytest.approx(1.0, abs=1e-5)


def scores_of(net: PagNetwork, images: list[torch.Tensor]) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    hook = net.trunk[0].gate.register_forward_hook(lambda _, __, y: seen.append(y.flatten()))
    with torch.no_grad():
        for image in images:
            net(image, half())
    hook.remove()
    return torch.cat(seen)
