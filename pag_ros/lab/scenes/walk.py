"""A camera that walks through a furnished scene: frames that follow one another in time."""

from __future__ import annotations

import heapq
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import DatasetError
from pag_ros.lab.scenes.camera import Pose, SceneCamera, look_at
from pag_ros.lab.scenes.film import Film
from pag_ros.lab.scenes.render import render, render_geometry
from pag_ros.lab.scenes.shell import Room
from pag_ros.lab.scenes.stage import (
    RawMaterial,
    Stage,
    build_stage,
    describe_material,
    load_material,
)
from pag_ros.lab.scenes.writer import DatasetWriter, FrameLine, write_frame

CELL_METRES = 0.05
CLEARANCE_METRES = 0.25
LOOK_AHEAD_METRES = 1.6
OVERHEAD_METRES = 1.3
SCENES_TRIED = 200
SCENES_COMPARED = 12

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Walk:
    """How to walk: frames at `rate` Hz, speed in m/s, camera height in m, pitch in rad."""

    frames: int = 70
    rate: float = 10.0
    speed: float = 0.55
    height: float = 0.9
    pitch: float = -0.12
    field_of_view: float = float(np.radians(70))


def render_walk(
    out: Path,
    furniture: Path,
    textures: tuple[Path, ...] = (),
    walk: Walk | None = None,
    size: tuple[int, int] = (640, 480),
    seed: int = 0,
    split: str = "test",
    hold_out: tuple[str, ...] = ("KatorLegaz",),
    cache: Path | None = None,
) -> int:
    """Render a walk through one scene, from its first room through the doorway.

    The files are those of a dataset; frames.jsonl carries "stamp" in seconds.

    Returns:
        The number of frames.

    Raises:
        DatasetError: no scene of this seed has a way that is long enough.
    """
    walk = walk or Walk()
    material = load_material(furniture, textures, cache or out / "meshes", split, hold_out)
    scene, stage, path = _find_scene(material, seed, split, walk)
    description = describe_material(material)
    description["generator"] = {"seed": seed, "split": split, "scene": scene, **asdict(walk)}
    focal = float(size[0] / 2 / np.tan(walk.field_of_view / 2))
    camera = SceneCamera(focal, focal, (size[0] - 1) / 2, (size[1] - 1) / 2, *size)
    with DatasetWriter(out, description) as writer:
        for number, pose in enumerate(walk_poses(path, walk)):
            frame = f"{number:06d}"
            if frame not in writer.done:
                rng = np.random.default_rng([seed, scene, number, 3])
                write_frame(out, frame, render(stage.tracer, camera, pose, Film(), rng))
                writer.add([FrameLine(frame, scene, camera, number / walk.rate)])
        return len(writer.done)


def walk_poses(path: Points, walk: Walk) -> list[Pose]:
    """Camera poses along a path [N,2], at constant speed, looking where the path leads."""
    steps = np.arange(walk.frames) * walk.speed / walk.rate
    poses = []
    for step in steps:
        place, ahead = along_path(path, step), along_path(path, step + LOOK_AHEAD_METRES)
        eye = np.array([*place, walk.height])
        # a slow sway, as of a robot that corrects its course
        turn = 0.12 * np.sin(1.3 * step)
        x, y = ahead - place
        heading = np.array(
            [x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)]
        )
        drop = np.linalg.norm(heading) * np.tan(walk.pitch)
        poses.append(look_at(eye, eye + np.array([*heading, drop])))
    return poses


def along_path(path: Points, distance: float) -> Points:
    """The point [2] `distance` metres along a path; beyond its end it goes straight on."""
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    if distance > length[-1]:
        direction = path[-1] - path[-6]
        direction = direction / np.linalg.norm(direction)
        return np.asarray(path[-1] + direction * (distance - length[-1]))
    return np.array([np.interp(distance, length, path[:, k]) for k in (0, 1)])


def _find_scene(
    material: RawMaterial, seed: int, split: str, walk: Walk
) -> tuple[int, Stage, Points]:
    """The richest of the first scenes that have a free way through a doorway."""
    best: tuple[float, int, Stage, Points] | None = None
    found = 0
    for number in range(SCENES_TRIED):
        stage = build_stage(material, seed, number, split, "living")
        if len(stage.rooms) < 2:
            continue
        path = free_path(stage, walk.frames / walk.rate * walk.speed)
        if path is None:
            continue
        richness = _richness(stage, path, walk)
        if best is None or richness > best[0]:
            best = (richness, number, stage, path)
        found += 1
        if found == SCENES_COMPARED:
            break
    if best is None:
        raise DatasetError(f"seed {seed} has no scene with a way that long: try another seed")
    return best[1:]


def _richness(stage: Stage, path: Points, walk: Walk) -> float:
    """How many classes the worse views of a walk show; near walls count against it."""
    camera = SceneCamera(28.0, 28.0, 19.5, 14.5, 40, 30)
    scores = []
    for pose in walk_poses(path, walk)[::5]:
        depth, _, labels = render_geometry(stage.tracer, camera, pose)
        kinds = (np.bincount(labels.ravel(), minlength=256) > 0.01 * labels.size).sum()
        median = float(np.median(np.nan_to_num(depth)))  # to see nothing is as bad as a near wall
        scores.append(float(kinds) * min(median / 1.5, 1.0))
    return float(np.quantile(scores, 0.3))


def free_path(stage: Stage, length: float) -> Points | None:
    """A smooth way [N,2] of about `length` metres that ends behind the doorway, if there is one."""
    room = stage.rooms[0]
    doorway = next(o for o in room.openings if o.kind == "doorway")
    origin, along, normal, _ = room.edge(doorway.edge)
    goal = origin + along * (doorway.start + doorway.width / 2) - normal * 0.7
    corners = np.array([corner for r in stage.rooms for corner in r.corners])
    low = corners.min(0)
    free = _free_cells(stage, low, corners.max(0))
    target = _nearest_free(free, (goal - low) / CELL_METRES)
    distance, towards = _distances(free, target)
    rows, columns = np.nonzero(np.isfinite(distance))
    inside = [room.contains(*(cell * CELL_METRES + low)) for cell in np.stack([rows, columns], 1)]
    reached = distance[rows, columns] * CELL_METRES
    good = np.flatnonzero(np.array(inside) & (reached >= length))
    if not len(good):
        return None
    pick = good[np.argmin(reached[good])]
    cell, path = (int(rows[pick]), int(columns[pick])), []
    while cell != target:
        path.append(cell)
        cell = towards[cell]
    return _smooth(np.array(path) * CELL_METRES + low)


def _free_cells(stage: Stage, low: Points, high: Points) -> NDArray[np.bool_]:
    """[X,Y] cells with nothing but floor below camera height, and that within the clearance."""
    import cv2

    count_x, count_y = (np.ceil((high - low) / CELL_METRES).astype(int) + 1).tolist()
    x, y = np.meshgrid(np.arange(count_x), np.arange(count_y), indexing="ij")
    points = np.stack([x.ravel(), y.ravel()], 1) * CELL_METRES + low
    origins = np.concatenate([points, np.full((len(points), 1), OVERHEAD_METRES)], 1)
    down = np.tile(np.array([0, 0, -1], np.float32), (len(points), 1))
    hits = stage.tracer.hits(origins.astype(np.float32), down)
    floor = (hits.face >= 0) & (hits.distance > OVERHEAD_METRES - 0.03)
    inside = np.array([_is_indoors(stage.rooms, *point) for point in points])
    free = (floor & inside).reshape(count_x, count_y)
    room_to_move = cv2.distanceTransform(np.pad(free, 1).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(room_to_move[1:-1, 1:-1] * CELL_METRES > CLEARANCE_METRES)


def _is_indoors(rooms: list[Room], x: float, y: float) -> bool:
    """In a room or in the doorway between them."""
    if any(room.contains(x, y) for room in rooms):
        return True
    doorway = next(o for o in rooms[0].openings if o.kind == "doorway")
    origin, along, normal, _ = rooms[0].edge(doorway.edge)
    offset = np.array([x, y]) - origin
    return bool(
        doorway.start < offset @ along < doorway.end and -doorway.depth <= offset @ normal <= 0
    )


def _nearest_free(free: NDArray[np.bool_], cell: Points) -> tuple[int, int]:
    places = np.argwhere(free)
    if not len(places):
        return 0, 0
    row, column = places[np.argmin(((places - cell) ** 2).sum(1))]
    return int(row), int(column)


def _distances(
    free: NDArray[np.bool_], target: tuple[int, int]
) -> tuple[Points, dict[tuple[int, int], tuple[int, int]]]:
    """Shortest ways (in cells) from all free cells to a target, and each cell's next one."""
    distance = np.full(free.shape, np.inf)
    towards: dict[tuple[int, int], tuple[int, int]] = {}
    distance[target] = 0
    queue = [(0.0, target)]
    while queue:
        so_far, cell = heapq.heappop(queue)
        if so_far > distance[cell]:
            continue
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)):
            other = (cell[0] + dx, cell[1] + dy)
            if not (0 <= other[0] < free.shape[0] and 0 <= other[1] < free.shape[1]):
                continue
            length = so_far + float(np.hypot(dx, dy))
            if free[other] and length < distance[other]:
                distance[other], towards[other] = length, cell
                heapq.heappush(queue, (length, other))
    return distance, towards


def _smooth(path: Points, window: int = 15) -> Points:
    """A moving average along a path; its ends stay where they are."""
    padded = np.pad(path, ((window // 2, window // 2), (0, 0)), mode="edge")
    kernel = np.ones(window) / window
    return np.stack([np.convolve(padded[:, k], kernel, "valid") for k in (0, 1)], 1)
