"""What the two modes do in a step, how they cool down, and which settings are refused."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from pag_ros.errors import ParameterError  # noqa: E402
from pag_ros.lab.model import NetworkConfig  # noqa: E402
from pag_ros.lab.model.gating import GumbelGating, ThresholdGating, TopKGating  # noqa: E402
from pag_ros.lab.training.config import TrainConfig  # noqa: E402
from pag_ros.lab.training.modes import GATE_NOISE, BudgetMode, PaperMode, cooled, make_mode  # noqa: E402

CPU = torch.device("cpu")
PHASE = {
    "size": [64, 48],
    "batch": 2,
    "iterations": 10,
    "learning_rate": 1e-3,
    "final_learning_rate": 1e-4,
    "encoder_rate": 0.0,
}


def test_densities_cover_full_smallest_and_everything_between() -> None:
    density = BudgetMode(TrainConfig(), 8).densities(2000, CPU)
    assert float(density.min()) == pytest.approx(0.15)
    assert 0.15 < float((density == 1.0).all(dim=1).float().mean()) < 0.3
    assert 0.08 < float((density == 0.15).all(dim=1).float().mean()) < 0.2


def test_budgets_lose_their_noise_in_the_last_fifth() -> None:
    mode = make_mode(TrainConfig(), 3)
    noise = [mode.passes(2, progress, CPU)[0].gating.noise for progress in (0.0, 0.79, 0.8)]
    assert noise == [GATE_NOISE, GATE_NOISE, 0.0]


def test_the_sandwich_is_full_smallest_and_two_random_budgets_taught_by_the_full() -> None:
    passes = make_mode(TrainConfig(sandwich=True), 4).passes(3, 0.0, CPU)
    assert [each.student for each in passes] == [False, True, True, True]
    density = [each.gating.density for each in passes]
    assert bool((density[0] == 1.0).all())
    assert bool((density[1] == 0.15).all())
    assert not torch.equal(density[2], density[3])
    assert {each.shape for each in density} == {(3, 4)}


def test_the_paper_samples_hot_and_decides_cold() -> None:
    mode = make_mode(TrainConfig(gating="paper", gate_temperature=(1.0, 0.1)), 3)
    first, late = (mode.passes(2, progress, CPU)[0].gating for progress in (0.0, 0.9))
    assert isinstance(first, GumbelGating)
    assert first.temperature == pytest.approx(1.0)
    assert late.temperature == pytest.approx(0.1)
    assert isinstance(mode.validation(CPU)["threshold"](), ThresholdGating)
    assert isinstance(make_mode(TrainConfig(), 3).validation(CPU)["0.30"](), TopKGating)


def test_every_gate_is_held_to_its_own_rate() -> None:
    mode = PaperMode(TrainConfig(gating="paper", rho=(0.9, 0.5), rho_weight=2.0), 2)
    gating = GumbelGating(1.0)
    gating.mask(torch.full((1, 1, 4, 4), torch.logit(torch.tensor(0.9))), 0)
    gating.mask(torch.full((1, 1, 4, 4), 0.0), 1)
    assert float(mode.rate_loss(gating)) == pytest.approx(0.0, abs=1e-5)
    with pytest.raises(ParameterError, match="2 values for 3 gated blocks"):
        PaperMode(TrainConfig(gating="paper", rho=(0.9, 0.5)), 3)


def test_temperatures_fall_geometrically_to_the_last_fifth() -> None:
    values = [cooled((2.0, 0.2), progress, 0.2) for progress in (0.0, 0.4, 0.8, 1.0)]
    assert values == pytest.approx([2.0, 0.4**0.5, 0.2, 0.2])


@pytest.mark.parametrize(
    ("values", "culprit"),
    [
        ({"gating": "papr"}, "papr"),
        ({"gating": "paper", "sandwich": True}, "sandwich"),
        ({"rho": 1.0}, "rho"),
        ({"rho": (0.5, 0.0)}, "rho"),
        ({"gate_temperature": (1.0, 0.0)}, "gate_temperature"),
        ({"multipool_temperature": (1.0,)}, "multipool_temperature"),
        ({"class_weights": (1.0, 2.0)}, "class_weights: 2 for 14"),
        ({"weights": {"depth": 1.0}}, "normals"),
        ({"encoder_statistics": "none"}, "encoder_statistics"),
        ({"validate_every": 0}, "validate_every"),
        ({"density_min": 0.0}, "density_min"),
        ({"density_min": float("nan")}, "density_min"),
        ({"sandwich": "no"}, "sandwich: expected true or false"),
        ({"workers": -1}, "workers: expected a whole number of 0 to 1024, not -1"),
        ({"seed": 1.5}, "seed"),
        ({"weights": {"depth": 1.0, "normals": -1.0, "segmentation": 1.0}}, "weights: normals"),
        ({"class_weights": ("a",) * 14}, "class_weights"),
    ],
)
def test_bad_settings_name_the_culprit(values: dict[str, Any], culprit: str) -> None:
    with pytest.raises(ParameterError, match=culprit):
        TrainConfig(**values)


def test_settings_are_read_from_yaml_as_lists() -> None:
    config = TrainConfig.from_mapping(
        {
            "phases": [PHASE],
            "network": {"classes": ["wall", "floor"]},
            "class_weights": [1.0, 2.0],
            "multipool_temperature": [3.0, 0.1],
        }
    )
    assert config.network == NetworkConfig(classes=2, class_names=("wall", "floor"))
    assert config.multipool_temperature == (3.0, 0.1)


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        ({"size": [64]}, "phase 1: size: expected .width, height., not .64."),
        ({"size": [8, 8]}, "phase 1: size: expected a whole number of 32 to 4096, not 8"),
        ({"batch": 0}, "phase 1: batch: expected a whole number of 1 to"),
        ({"iterations": 0}, "phase 1: iterations"),
        ({"learning_rate": float("nan")}, "phase 1: learning_rate"),
        ({"learning_rate": "1e-3"}, "write 1.0e-3"),
        ({"rate": 1}, "phase 1: rate: no such key; there are size, batch"),
    ],
)
def test_a_bad_phase_is_named_with_what_it_may_be(change: dict[str, Any], culprit: str) -> None:
    with pytest.raises(ParameterError, match=culprit):
        TrainConfig.from_mapping({"phases": [{**PHASE, **change}]})


@pytest.mark.parametrize(
    ("values", "culprit"),
    [
        ({"phases": []}, "phases: expected at least one"),
        ({"phases": [PHASE], "seeds": 3}, "seeds: no such key; there are network, phases"),
        ({}, "lacks 'phases'"),
    ],
)
def test_a_file_without_phases_or_with_unknown_keys_is_refused(
    values: dict[str, Any], culprit: str
) -> None:
    with pytest.raises(ParameterError, match=culprit):
        TrainConfig.from_mapping(values)
