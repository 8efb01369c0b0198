"""Rendering whole datasets: scenes in worker processes, frames indexed as they are done.

One machine uses a pool of processes, several a Dask cluster whose workers see the same folders.
Frames depend on the seed alone, never on who renders them.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pag_ros.errors import ParameterError
from pag_ros.lab.scenes.film import random_film
from pag_ros.lab.scenes.render import render
from pag_ros.lab.scenes.stage import RawMaterial, build_stage, describe_material, load_material
from pag_ros.lab.scenes.views import sample_shots
from pag_ros.lab.scenes.writer import DatasetWriter, FrameLine, write_frame
from pag_ros.runtime.child_processes import interrupts_held

VIEWS_PER_SCENE = 16
"""Each in a light of its own. To furnish a room takes as long as to draw four views of it."""


@dataclass(frozen=True)
class RenderJob:
    """Everything a worker must know; sizes in pixels."""

    out: Path
    furniture: Path
    textures: tuple[Path, ...]
    cache: Path
    seed: int
    split: str
    hold_out: tuple[str, ...]
    width: int
    height: int


@dataclass(frozen=True)
class RenderAccount:
    """What a run did. total: frames that the dataset has now; drawn: those of this run.

    workers: processes on this machine, None on a cluster; cpu_s: processor time of them all.
    """

    total: int
    drawn: int
    elapsed_s: float
    cpu_s: float
    workers: int | None

    def line(self) -> str:
        """The rate in words; nothing where nothing was drawn."""
        if not self.drawn:
            return "nothing was missing"
        rate = f"{self.drawn} drawn, {self.drawn / self.elapsed_s:.1f} a second"
        if self.workers is None:
            return rate
        cost_ms = 1000 * self.cpu_s / self.drawn
        by = "one process" if self.workers == 1 else f"{self.workers} processes"
        return f"{rate} by {by}, {cost_ms:.0f} ms of processor time each"


# a job, a scene's number and the numbers of the views that are missing
Task = tuple[RenderJob, int, tuple[int, ...]]


def render_scene(task: Task) -> list[FrameLine]:
    """Render the missing views of one scene; every view has its own random stream."""
    job, scene, missing = task
    material = load_material(job.furniture, job.textures, job.cache, job.split, job.hold_out)
    stage = build_stage(material, job.seed, scene, job.split)
    rng = np.random.default_rng([job.seed, scene, 1, 1])
    shots = sample_shots(
        stage.tracer, stage.rooms, stage.placed, rng, VIEWS_PER_SCENE, job.width, job.height
    )
    records, written = [], []
    # the next frame is drawn while the disk takes this one
    with ThreadPoolExecutor(1) as pen:
        for index in missing:
            shot, stream = shots[index], np.random.default_rng([job.seed, scene, index, 2])
            tracer = stage.relit(stream)
            view = render(tracer, shot.camera, shot.pose, random_film(stream), stream)
            record = FrameLine(f"{scene * VIEWS_PER_SCENE + index:06d}", scene, shot.camera)
            written.append(pen.submit(write_frame, job.out, record.id, view))
            records.append(record)
    for frame in written:
        frame.result()
    return records


def render_dataset(
    out: Path,
    frames: int,
    furniture: Path,
    textures: tuple[Path, ...] = (),
    size: tuple[int, int] = (320, 240),
    seed: int = 0,
    split: str = "train",
    hold_out: tuple[str, ...] = ("KatorLegaz",),
    workers: int = 2,
    cache: Path | None = None,
    scheduler: str | None = None,
) -> RenderAccount:
    """Render a dataset of `frames` frames into `out`, or what is missing of it.

    Args:
        size: width and height in pixels.
        hold_out: furniture groups that only the test split shows.
        workers: processes on this machine.
        cache: where processed meshes are kept; `out`/meshes by default.
        scheduler: address of a Dask scheduler whose workers render instead; they must see
            `out`, `furniture`, `textures` and `cache` under the same paths.

    Raises:
        ParameterError: the scheduler cannot be reached.
        DatasetError: `out` holds other frames, or there is no furniture for the split.
    """
    from tqdm import tqdm

    if scheduler:  # Elsewhere, relative paths mean other folders.
        out, furniture, textures = out.resolve(), furniture.resolve(), _resolved(textures)
        cache = cache.resolve() if cache else None
    job = RenderJob(out, furniture, textures, cache or out / "meshes", seed, split, hold_out, *size)
    material = load_material(furniture, textures, job.cache, split, hold_out)
    started_s, started_cpu_s = time.monotonic(), _cpu_seconds()
    with DatasetWriter(out, _description(job, material)) as writer:
        tasks, before = _tasks(job, frames, writer.done), len(writer.done)
        with tqdm(total=frames, initial=len(writer.done), unit="frame") as bar:
            results = _on_cluster(tasks, scheduler) if scheduler else _rendered(tasks, workers)
            for records in results:
                writer.add(records)
                bar.update(len(records))
        total = len(writer.done)
    return RenderAccount(
        total=total,
        drawn=total - before,
        elapsed_s=time.monotonic() - started_s,
        cpu_s=_cpu_seconds() - started_cpu_s,
        workers=None if scheduler else workers,
    )


def _cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _tasks(job: RenderJob, frames: int, done: set[str]) -> list[Task]:
    tasks = []
    for scene in range(-(-frames // VIEWS_PER_SCENE)):
        first = scene * VIEWS_PER_SCENE
        views = range(min(VIEWS_PER_SCENE, frames - first))
        missing = tuple(k for k in views if f"{first + k:06d}" not in done)
        if missing:
            tasks.append((job, scene, missing))
    return tasks


def _rendered(tasks: list[Task], workers: int) -> Iterator[list[FrameLine]]:
    """Results as they come, from worker processes or (workers <= 1) from this one."""
    if workers <= 1:
        yield from map(render_scene, tasks)
        return
    context = multiprocessing.get_context("spawn")
    with interrupts_held():
        # one thread each: the processes share the cores already
        pool = context.Pool(workers, cv2.setNumThreads, (1,))
    with pool:
        yield from pool.imap_unordered(render_scene, tasks)
        pool.close()
        pool.join()


def _on_cluster(tasks: list[Task], scheduler: str) -> Iterator[list[FrameLine]]:
    """Results as they come from the workers of a Dask cluster.

    A worker that is lost takes nothing with it: Dask gives its scenes to another.
    """
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise ParameterError("--scheduler needs Dask: pip install 'pag_ros[cluster]'") from error
    try:
        client = Client(scheduler, timeout="10s")  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ParameterError(
            f"--scheduler {scheduler}: no Dask scheduler answers there ({error})"
        ) from error
    with client:
        futures = client.map(render_scene, tasks, pure=False)
        for future in as_completed(futures):  # type: ignore[no-untyped-call]
            yield future.result()
            future.release()  # Dask would keep every result until the end.


def _resolved(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    return tuple(path.resolve() for path in paths)


def _description(job: RenderJob, material: RawMaterial) -> dict[str, object]:
    """What dataset.json says: how the frames were made and from what."""
    generator = {
        "seed": job.seed,
        "split": job.split,
        "hold_out": list(job.hold_out),
        "width": job.width,
        "height": job.height,
        "views_per_scene": VIEWS_PER_SCENE,
    }
    return {"generator": generator, **describe_material(material)}
