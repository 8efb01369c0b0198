"""The real node over DDS while the machine is loaded on purpose: our deadline beside fixed budgets.

Modes take turns in blocks, each with a node process of its own under the same pattern of load.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from pag_ros.errors import BagError
from pag_ros.evaluation.bags import Bag
from pag_ros.replay.live import ros_context, shots
from pag_ros.replay.live_log import LiveLog
from pag_ros.replay.load_figures import Blocks, Setting
from pag_ros.replay.load_injector import LoadInjector
from pag_ros.replay.node_process import NodeProcess
from pag_ros.replay.player import (
    FIRST_FRAME_TIMEOUT_S,
    START_TIMEOUT_S,
    Playback,
    Player,
    TimedImage,
)
from pag_ros.replay.urgency import urgent
from pag_ros.runtime import find_model
from pag_ros.runtime.network_size import Size, size_text

_MAX_IMAGES = 64
"""Images of the bag that are sent: they are kept in memory, so that each costs the same to send."""


@dataclass(frozen=True)
class LoadOptions:
    """What to run.

    Attributes:
        bag: its images are sent, again and again.
        out: folder for the nodes' logs.
        model: name or path of the node's model.
        size: (width, height) that it runs at; None: its own.
        cameras: how many cameras the node serves, evenly out of step with one another.
        fps: images a second of each; the deadline is the time between two.
        patterns: names of patterns of load, see `load_injector.PATTERNS`.
        modes: (budget_mode, budget) to be compared.
        block_s: length of a block; each mode gets one per pattern and round.
        rounds: number of rounds.
        guard_ms: parameter of the node.
        hogs, memory, nice: of the load, see `LoadInjector`.
        progress: called with the name of the block before each.
    """

    bag: Path
    out: Path
    model: str
    size: Size | None
    cameras: int
    fps: float
    patterns: Sequence[str]
    modes: Sequence[tuple[str, float]]
    block_s: float
    rounds: int
    guard_ms: float
    hogs: int
    memory: bool
    nice: int
    progress: Callable[[str], object]


def bench_load(options: LoadOptions) -> dict[Setting, Blocks]:
    """Run all blocks; what became of the frames, by setting.

    Raises:
        BagError, ModelError, NodeError: the bag, the model or the node fails.
    """
    model = find_model(options.model).resolve()
    runs: dict[Setting, Blocks] = defaultdict(Blocks)
    with Bag(options.bag) as bag, ros_context():
        images = list(itertools.islice(shots(bag, 1.0), _MAX_IMAGES))
        if not images:
            reasons = "; ".join(bag.problems) or "no image has a camera_info"
            raise BagError(f"{bag.path}: no image can be sent ({reasons})")
        image_type = bag.types["image"]
        for _ in range(options.rounds):
            for pattern, mode in itertools.product(options.patterns, options.modes):
                setting = Setting(*mode, pattern)
                options.progress(f"{pattern}, {setting}")
                logs = _block(options, model, images, image_type, setting)
                for camera, log in logs.items():
                    _enter(runs[setting._replace(camera=camera)], log)
    return dict(runs)


def _enter(blocks: Blocks, log: _CountedLog) -> None:
    blocks.blocks.append(log.records())
    for name, count in log.counted.items():
        blocks.outcomes[name] = blocks.outcomes.get(name, 0) + count


class _CountedLog(LiveLog):
    """A log that keeps how its frames ended by the node's books; it scores nothing."""

    def __init__(self) -> None:
        super().__init__(frozenset())
        self.counted: dict[str, int] = {}


def _block(
    options: LoadOptions,
    model: Path,
    images: Sequence[TimedImage],
    image_type: str,
    setting: Setting,
) -> dict[str, _CountedLog]:
    """Camera -> what became of its frames."""
    namespace = f"/pag_load_{os.getpid()}"
    several = options.cameras > 1
    names = [f"camera{number + 1}" for number in range(options.cameras)] if several else [""]
    parameters = {
        "model": model,
        "device": "cpu",
        "deadline_ms": 1e3 / options.fps,
        "budget_mode": setting.mode,
        "budget": setting.budget,
        "guard_ms": options.guard_ms,
        "image_transport": "compressed" if image_type.endswith("CompressedImage") else "raw",
        # The command line takes no empty text.
        **({"cameras": " ".join(names)} if several else {}),
        **({"network_size": size_text(options.size)} if options.size else {}),
    }
    logs = {name: _CountedLog() for name in names}
    # Node and hogs start before we rise above them; the players' threads rise with us.
    with (
        NodeProcess(namespace, parameters, None, options.out / "node.log") as process,
        LoadInjector(setting.pattern, options.hogs, options.memory, options.nice) as injector,
        urgent(),
        ExitStack() as stack,
    ):
        players = [
            stack.enter_context(closing(Player(namespace, image_type, log, process, name)))
            for name, log in logs.items()
        ]
        playbacks = _played(players, images, options, injector)
    for log, playback in zip(logs.values(), playbacks, strict=True):
        log.counted = log.outcomes(playback.counters)
    return logs


def _played(
    players: Sequence[Player],
    images: Sequence[TimedImage],
    options: LoadOptions,
    injector: LoadInjector,
) -> list[Playback]:
    """All cameras at once; the load begins with the first image."""
    ready = threading.Barrier(
        len(players), injector.begin, timeout=START_TIMEOUT_S + FIRST_FRAME_TIMEOUT_S
    )
    with ThreadPoolExecutor(len(players), "player") as threads:
        running = [
            threads.submit(
                player.run,
                images[0],
                [_paced(images, options, number / len(players), ready)],
                lambda: None,
            )
            for number, player in enumerate(players)
        ]
        try:
            return [playing.result() for playing in running]
        finally:
            ready.abort()
            for player in players:
                player.stop()


def _paced(
    images: Sequence[TimedImage], options: LoadOptions, phase: float, ready: threading.Barrier
) -> Iterator[TimedImage]:
    """The images again and again at the asked rate, `phase` of a period after the beginning."""
    ready.wait()
    for number in range(round(options.block_s * options.fps)):
        shot = images[number % len(images)]
        at_s = (number + phase) / options.fps
        yield TimedImage(at_s, shot.number, shot.image, shot.camera_info, has_truth=False)
