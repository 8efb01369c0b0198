"""Time networks in the runtime that robots use, one beside the other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.lab.bench.timing import Progress, take_turns
from pag_ros.lab.export import ModelCard, export_model
from pag_ros.lab.model import PagNetwork
from pag_ros.manifest import LabelClass
from pag_ros.runtime import Session, open_session


@dataclass(frozen=True)
class Variant:
    """What to time.

    Attributes:
        network: in evaluation mode; exported once for all variants that share it and the size.
        size: (width, height) of its input.
        share: of every gated block's pixels to compute, 0 to 1.
    """

    network: PagNetwork
    size: tuple[int, int]
    share: float


def time_variants(
    variants: Mapping[str, Variant],
    image: NDArray[np.uint8],
    threads: int,
    rounds: int,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Median milliseconds of a picture for each variant, all taking turns.

    Args:
        variants: name -> what to time.
        image: [H,W,3] RGB, a real one: masks follow what is in it.
        threads: of the runtime.
        rounds: how often each takes its turn.
        progress: called after every round.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as open_sessions:
        sessions: dict[tuple[int, tuple[int, int]], Session] = {}
        runs: dict[str, Callable[[], object]] = {}
        for name, variant in variants.items():
            key = id(variant.network), variant.size
            if key not in sessions:
                path = Path(folder, f"{len(sessions)}.onnx")
                export_model(variant.network, _card(variant.network), variant.size, path)
                session = open_session(path, "cpu", threads)
                sessions[key] = open_sessions.enter_context(closing(session))
            session = sessions[key]
            keep = [round(variant.share * block.pixels) for block in session.manifest.blocks]
            resized = cv2.resize(image, variant.size, interpolation=cv2.INTER_AREA)
            picture = np.asarray(resized, np.uint8)
            runs[name] = partial(session.infer, picture, 0.8 * variant.size[0], keep)
        seconds = take_turns(runs, rounds, progress)
    return {name: 1e3 * value for name, value in seconds.items()}


def _card(network: PagNetwork) -> ModelCard:
    names = [f"class{number}" for number in range(network.config.classes)]
    return ModelCard(
        name="compared",
        classes=tuple(LabelClass(name, (0, 0, 0)) for name in names),
        depth_range_m=(0.3, 10.0),
        focal_range=(0.5, 1.6),
        license="none",
        training_data="none",
    )
