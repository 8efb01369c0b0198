"""The real node over DDS while the machine is loaded on purpose: our deadline beside fixed budgets.

Modes take turns in blocks, each with a node process of its own under the same pattern of load.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pag_ros.evaluation.bags import Bag
from pag_ros.evaluation.live import LiveLog
from pag_ros.evaluation.load import LoadRow, load_row
from pag_ros.evaluation.load_injector import LoadInjector
from pag_ros.evaluation.results import FrameRecord
from pag_ros.ros.node_process import NodeProcess
from pag_ros.ros.player import Player, Shot
from pag_ros.ros.replay import ros_context, shots
from pag_ros.runtime import find_model


@dataclass(frozen=True)
class Mode:
    """Parameters of the node."""

    budget_mode: str
    budget: float


@dataclass(frozen=True)
class LoadOptions:
    """What to run.

    Attributes:
        bag: its images are sent, again and again.
        out: folder for the nodes' logs.
        model: for the node.
        fps: images a second; the deadline is the time between two.
        patterns: of load, see `load_injector.PATTERNS`.
        modes: to be compared.
        block_s: length of a block; each mode gets one per pattern and round.
        rounds: how often.
        hogs, memory, nice: of the load, see `LoadInjector`.
        progress: called with the name of the block before each.
    """

    bag: Path
    out: Path
    model: str
    fps: float
    patterns: Sequence[str]
    modes: Sequence[Mode]
    block_s: float
    rounds: int
    hogs: int
    memory: bool
    nice: int
    progress: Callable[[str], object]


Blocks = dict[tuple[Mode, str], list[FrameRecord]]
"""(mode, pattern) -> its frames; times run from the begin of their block."""


def bench_load(options: LoadOptions) -> tuple[list[LoadRow], Blocks]:
    """Run all blocks; returns the figures and the frames behind them.

    Raises:
        BagError, ModelError, NodeError: the bag, the model or the node fails.
    """
    model = find_model(options.model).resolve()
    frames: Blocks = defaultdict(list)
    outcomes: dict[tuple[Mode, str], Counter[str]] = defaultdict(Counter)
    with Bag(options.bag) as bag, ros_context():
        images = [shot for shot, _ in zip(shots(bag, 1.0), range(64), strict=False)]
        image_type = bag.types["image"]
        for _ in range(options.rounds):
            for pattern, mode in itertools.product(options.patterns, options.modes):
                options.progress(f"{pattern}, {mode.budget_mode} {mode.budget:g}")
                log = _block(options, model, images, image_type, pattern, mode)
                frames[mode, pattern] += log.records()
                outcomes[mode, pattern].update(log.counted)
    deadline_ms = 1e3 / options.fps
    rows = [
        load_row(mode.budget_mode, mode.budget, pattern, records, deadline_ms, outcomes[key])
        for key, records in frames.items()
        for mode, pattern in [key]
    ]
    return rows, frames


class _CountedLog(LiveLog):
    """A log that keeps how its frames ended by the node's books; it scores nothing."""

    def __init__(self) -> None:
        super().__init__(frozenset())
        self.counted: dict[str, int] = {}


def _block(
    options: LoadOptions,
    model: Path,
    images: Sequence[Shot],
    image_type: str,
    pattern: str,
    mode: Mode,
) -> _CountedLog:
    log = _CountedLog()
    namespace = f"/pag_load_{os.getpid()}"
    parameters = {
        "model": model,
        "device": "cpu",
        "deadline_ms": 1e3 / options.fps,
        "budget_mode": mode.budget_mode,
        "budget": mode.budget,
        "image_transport": "compressed" if image_type.endswith("CompressedImage") else "raw",
    }
    injector = LoadInjector(pattern, options.hogs, options.memory, options.nice)
    with (
        NodeProcess(namespace, parameters, None, options.out / "node.log") as process,
        closing(Player(namespace, image_type, log, process)) as player,
        injector,
    ):
        played = player.run(images[0], [_paced(images, options, injector)], lambda: None)
    log.counted = log.outcomes(played.counters)
    return log


def _paced(images: Sequence[Shot], options: LoadOptions, injector: LoadInjector) -> Iterator[Shot]:
    """The images again and again at the asked rate; the load begins with the first."""
    injector.begin()
    for number in range(round(options.block_s * options.fps)):
        shot = images[number % len(images)]
        yield Shot(
            number / options.fps, shot.bag_stamp_ns, shot.image, shot.camera_info, has_truth=False
        )
