"""How a network is tuned: gently, from what it knows, within the time that is given."""

from __future__ import annotations

from pag_ros.lab.model import NetworkConfig
from pag_ros.lab.training.config import Phase, TrainConfig

OWN_SHARE = 0.75
"""Of a batch; the rest are rendered rooms, so that what they taught is not forgotten."""

START_WEIGHTS = {"depth": 1.0, "normals": 1.0, "segmentation": 4.0}
"""Of what holds heads where they were. Labels cost the depth nothing, and are held firmly: with 1
they moved on a sixth of the pixels."""

START_SHARE = 0.2
"""Of the start in what comes out: a quarter of what rendered rooms have lost comes back by it."""

FLAWS = 0.4
"""Share of the pictures that get a camera's flaws: these are of the robot's own."""


def recipe(network: NetworkConfig, size: tuple[int, int], minutes: float, seed: int) -> TrainConfig:
    """The training run.

    It trains what ships from its first step on: with normalisation statistics as they are, which a
    few hundred frames of one place would spoil, and at the size that the model runs at. Heads that
    the recording has no truth for are held where they were.

    Args:
        network: of the weights to start from.
        size: (width, height) of the model's input.
        minutes: to train.
    """
    phase = Phase(
        size,
        batch=4,
        iterations=1,
        learning_rate=1e-3,
        final_learning_rate=1e-5,
        encoder_rate=0.2,
    )
    return TrainConfig(
        network=network,
        phases=(phase,),
        minutes=minutes,
        mixture=(OWN_SHARE, 1.0 - OWN_SHARE),
        guide="start",
        guide_weights=START_WEIGHTS,
        start_share=START_SHARE,
        flaws=FLAWS,
        keeps_best=True,
        patience=4,
        warm_up=20,
        final_share=1.0,
        average_decay=0.97,
        recalibrate=0,
        log_every=20,
        validation_frames=16,
        seed=seed,
    )
