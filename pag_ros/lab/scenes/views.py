"""Where the camera stands and what it looks at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pag_ros.lab.scenes.camera import Pose, SceneCamera, look_at
from pag_ros.lab.scenes.furnish import Placed
from pag_ros.lab.scenes.render import render_geometry
from pag_ros.lab.scenes.shell import Room
from pag_ros.lab.scenes.tracing import Tracer

Generator = np.random.Generator
PROBE_WIDTH, PROBE_HEIGHT = 32, 24
CLOSE_SHARE = 0.4
# of the close-ups, those of a table or worktop, where robots with arms look
WORKTOP_SHARE = 0.7
WORKTOP_METRES = (0.3, 1.25)
# from a hand's camera to one on a mast; nearer ones alone taught that all table tops are near
CLOSE_METRES = (0.3, 1.6)
# degrees above the horizon that a close-up is taken from: least, likeliest, most; with all alike
# likely, table tops that fill the picture were taken for ones seen from overhead
CLOSE_LIFT_DEGREES = (8, 25, 80)
# low, high (m) and share of views: a robot's camera, a table top, a head
HEIGHTS = ((0.15, 0.6, 0.35), (0.6, 1.2, 0.3), (1.2, 1.9, 0.35))
# a camera held in a hand or carried over rough ground
TILTED_SHARE = 0.15
ROLL_DEGREES, TILTED_ROLL_DEGREES = 2.5, 9.0
# how far down and up a camera may look, in degrees
STANDING_PITCH, CLOSE_PITCH = (-60, 25), (-85, 10)


@dataclass(frozen=True)
class Demand:
    """What makes a view good. Metres: the median depth, and that of the nearest 3 %; how many
    classes it shows."""

    median: float
    nearest: float
    classes: int


STANDING = Demand(0.6, 0.3, 4)
CLOSE = Demand(0.25, 0.15, 2)


@dataclass(frozen=True)
class Shot:
    """A camera in the world."""

    camera: SceneCamera
    pose: Pose


def random_intrinsics(rng: Generator, width: int, height: int) -> SceneCamera:
    """Horizontal field of view 50-90 degrees, square pixels, centre off by up to 2 %."""
    field_of_view = np.radians(rng.uniform(50, 90))
    focal = float(width / 2 / np.tan(field_of_view / 2))
    off_x, off_y = rng.uniform(-0.02, 0.02, 2)
    cx, cy = (width - 1) / 2 + off_x * width, (height - 1) / 2 + off_y * height
    return SceneCamera(focal, focal, float(cx), float(cy), width, height)


def sample_shots(
    tracer: Tracer,
    rooms: list[Room],
    placed: list[Placed],
    rng: Generator,
    count: int,
    width: int,
    height: int,
) -> list[Shot]:
    """`count` views that show something; after many bad ones the least bad is taken."""
    shots = []
    for _ in range(count):
        best, best_score = None, -np.inf
        wanted = float(rng.choice([0.05, 0.2, 0.35]))
        for _ in range(25):
            camera = random_intrinsics(rng, width, height)
            close = bool(rng.random() < CLOSE_SHARE)
            pose = _random_pose(rooms, placed, rng, close)
            if pose is None:
                continue
            score = view_score(tracer, camera, pose, CLOSE if close else STANDING, wanted)
            if score > best_score:
                best, best_score = Shot(camera, pose), score
            if score >= 1:
                break
        if best is None:
            best = Shot(camera, _fallback(rooms[0]))
        shots.append(best)
    return shots


def _fallback(room: Room) -> Pose:
    low_x, low_y, high_x, high_y = room.bounds
    corner = np.array([low_x + 0.4, low_y + 0.4, 1.5])
    return look_at(corner, np.array([(low_x + high_x) / 2, (low_y + high_y) / 2, 0.7]))


def _random_pose(
    rooms: list[Room], placed: list[Placed], rng: Generator, close: bool
) -> Pose | None:
    """Stand somewhere free and look at a piece of furniture or across the room."""
    room = rooms[0] if rng.random() < 0.85 else rooms[-1]
    target = _target(room, placed, rng, close)
    eye = _close_eye(target, rng) if close else _standing_eye(room, target, rng)
    if not any(r.contains(float(eye[0]), float(eye[1])) for r in rooms) or _is_inside(eye, placed):
        return None
    flat = float(np.linalg.norm((target - eye)[:2]))
    if flat < 0.02:
        return None
    pitch = np.arctan2(target[2] - eye[2], flat)
    limits = np.radians(CLOSE_PITCH if close else STANDING_PITCH)
    target[2] = eye[2] + flat * np.tan(np.clip(pitch, *limits))
    roll = TILTED_ROLL_DEGREES if rng.random() < TILTED_SHARE else ROLL_DEGREES
    return look_at(eye, target, float(np.radians(rng.normal(0, roll))))


def _target(room: Room, placed: list[Placed], rng: Generator, close: bool) -> np.ndarray:
    low_x, low_y, high_x, high_y = room.bounds
    worktops = [p for p in placed if _is_worktop(p)] if close else []
    if worktops and rng.random() < WORKTOP_SHARE:
        placed = worktops  # and what lies on them, which is more
    if placed and (close or rng.random() < 0.75):
        piece = placed[int(rng.integers(len(placed)))]
        x0, y0, x1, y1 = piece.footprint
        z = rng.uniform(piece.bottom, piece.top) if not close else piece.top
        return np.array([rng.uniform(x0, x1), rng.uniform(y0, y1), z])
    return np.array([rng.uniform(low_x, high_x), rng.uniform(low_y, high_y), rng.uniform(0.2, 1.6)])


def _is_worktop(piece: Placed) -> bool:
    """Whether a piece is a table, or so high, or lies at that height."""
    low, high = WORKTOP_METRES
    if piece.label == "object":
        return low < piece.bottom < high
    return piece.label in ("table", "cabinet", "fixture") and low < piece.top < high


def _standing_eye(room: Room, target: np.ndarray, rng: Generator) -> np.ndarray:
    low_x, low_y, high_x, high_y = room.bounds
    bands = np.array([share for _, _, share in HEIGHTS])
    low, high, _ = HEIGHTS[int(rng.choice(len(HEIGHTS), p=bands))]
    best = None
    # of a few places the one at the likeliest distance from the target
    for _ in range(4):
        x, y = rng.uniform(low_x + 0.2, high_x - 0.2), rng.uniform(low_y + 0.2, high_y - 0.2)
        distance = np.hypot(x - target[0], y - target[1])
        rank = abs(np.log(distance / 2.2 + 1e-3))
        if best is None or rank < best[0]:
            best = (rank, x, y)
    assert best is not None
    return np.array([best[1], best[2], rng.uniform(low, high)])


def _close_eye(target: np.ndarray, rng: Generator) -> np.ndarray:
    """CLOSE_METRES from the target, above it: from the side, or from nearly overhead."""
    distance = np.exp(rng.uniform(*np.log(CLOSE_METRES)))
    around = rng.uniform(0, 2 * np.pi)
    lift = np.radians(rng.triangular(*CLOSE_LIFT_DEGREES))
    offset = [np.cos(around) * np.cos(lift), np.sin(around) * np.cos(lift), np.sin(lift)]
    return np.asarray(target + distance * np.array(offset))


def _is_inside(eye: np.ndarray, placed: list[Placed], margin: float = 0.08) -> bool:
    x, y, z = eye
    return any(
        p.footprint[0] - margin < x < p.footprint[2] + margin
        and p.footprint[1] - margin < y < p.footprint[3] + margin
        and p.bottom - margin < z < p.top + margin
        for p in placed
    )


def view_score(
    tracer: Tracer, camera: SceneCamera, pose: Pose, demand: Demand, wanted: float
) -> float:
    """1: good. Judged on a small picture: not too near, not one flat surface, enough in it.

    wanted: share of the picture that is neither shell nor opening.
    """
    small = SceneCamera(
        camera.fx * PROBE_WIDTH / camera.width,
        camera.fy * PROBE_HEIGHT / camera.height,
        (PROBE_WIDTH - 1) / 2,
        (PROBE_HEIGHT - 1) / 2,
        PROBE_WIDTH,
        PROBE_HEIGHT,
    )
    depth, normals, labels = render_geometry(tracer, small, pose)
    known = np.isfinite(depth)
    if known.mean() < 0.9:
        return -1.0
    depths = np.sort(depth[known])
    median, near = float(depths[len(depths) // 2]), float(depths[len(depths) * 3 // 100])
    flat = _largest_plane(depth, normals)
    furniture = float((labels >= 5).mean())
    nearness = min(median / demand.median, near / demand.nearest, 1.0)
    plainness = min((1 - flat) / 0.2, 1.0)
    kinds = int((np.bincount(labels.ravel(), minlength=256) > 0.015 * labels.size).sum())
    interest = min(furniture / wanted, 1.0) * min(kinds / demand.classes, 1.0)
    return nearness * plainness if interest >= 1 else nearness * plainness * interest * 0.99


def _largest_plane(depth: np.ndarray, normals: np.ndarray) -> float:
    """Share of pixels with the commonest normal (sharp to about 10 degrees), unknown being one."""
    bins = np.round(np.nan_to_num(normals) * 5).astype(np.int64).reshape(-1, 3)
    keys = bins @ np.array([1, 100, 10_000])
    return float(np.unique(keys, return_counts=True)[1].max() / depth.size)
