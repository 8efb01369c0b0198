"""Rooms close, openings fit their walls, furniture stands free, small things lie on something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pag_ros.lab.scenes import dropping
from pag_ros.lab.scenes.furnish import overlap
from pag_ros.lab.scenes.rooms import THEMES, random_rooms
from pag_ros.lab.scenes.stage import Stage, build_stage, load_material
from pag_ros.lab.scenes.surfaces import Surfaces
from pag_ros.lab.scenes.things import small_thing
from pag_ros.lab.scenes.views import sample_shots, view_score


@pytest.fixture(scope="module")
def stages(furniture: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Stage]:
    cache = tmp_path_factory.mktemp("cache")
    material = load_material(furniture, (), cache, "train", ("KatorLegaz",))
    return [build_stage(material, 7, number, "train") for number in range(4)]


def test_openings_fit_their_walls_and_leave_each_other_alone() -> None:
    for seed in range(60):
        for room in random_rooms(np.random.default_rng(seed)):
            spans: dict[int, list[tuple[float, float]]] = {}
            for opening in room.openings:
                length = room.edge(opening.edge)[3]
                assert 0 <= opening.start < opening.end <= length + 1e-9
                assert 0 <= opening.bottom < opening.top < room.height
                for start, end in spans.setdefault(opening.edge, []):
                    assert opening.end <= start or end <= opening.start
                spans[opening.edge].append((opening.start, opening.end))


def test_the_room_behind_continues_the_doorway() -> None:
    found = 0
    for seed in range(60):
        rooms = random_rooms(np.random.default_rng(seed))
        if len(rooms) < 2:
            continue
        found += 1
        doorway = next(o for o in rooms[0].openings if o.kind == "doorway")
        hole = next(o for o in rooms[1].openings if o.kind == "hole")
        assert hole.width == doorway.width
        start, along, normal, _ = rooms[0].edge(doorway.edge)
        far_start, far_along, far_normal, _ = rooms[1].edge(hole.edge)
        middle = start + along * (doorway.start + doorway.width / 2) - normal * doorway.depth
        far_middle = far_start + far_along * (hole.start + hole.width / 2)
        np.testing.assert_allclose(middle, far_middle, atol=1e-9)
        np.testing.assert_allclose(normal, -far_normal, atol=1e-9)
    assert found > 5


def test_every_theme_can_be_asked_for() -> None:
    for theme in THEMES:
        assert random_rooms(np.random.default_rng(0), theme)[0].theme == theme


def test_furniture_stays_in_its_room_under_the_ceiling(stages: list[Stage]) -> None:
    for stage in stages:
        highest = max(room.height for room in stage.rooms)
        assert len(stage.placed) > 3
        for piece in stage.placed:
            assert -1e-4 <= piece.bottom <= piece.top < highest
            x, y = (piece.footprint[0] + piece.footprint[2]) / 2, piece.footprint[1]
            assert any(room.contains(x, y) for room in stage.rooms)


def test_large_pieces_do_not_share_floor(stages: list[Stage]) -> None:
    for stage in stages:
        large = [p for p in stage.placed if p.label in ("sofa", "bed", "cabinet", "fixture")]
        standing = [p for p in large if p.bottom < 0.01]
        for number, piece in enumerate(standing):
            for other in standing[number + 1 :]:
                assert not overlap(piece.footprint, other.footprint)


def test_what_lies_on_something_touches_it(stages: list[Stage]) -> None:
    """A ray down from a small thing meets a surface within a few millimetres."""
    checked = 0
    for stage in stages:
        for piece in stage.placed:
            is_small = piece.top - piece.bottom < 0.5
            if piece.label != "object" or not is_small or not 0.3 < piece.bottom < 0.8:
                continue
            x = (piece.footprint[0] + piece.footprint[2]) / 2
            y = (piece.footprint[1] + piece.footprint[3]) / 2
            origin = np.array([[x, y, piece.bottom + 0.0005]], np.float32)
            hits = stage.tracer.hits(origin, np.array([[0, 0, -1]], np.float32))
            assert hits.distance[0] < 0.02
            checked += 1
    assert checked


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_tables_can_be_crowded(
    furniture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    monkeypatch.setattr(dropping, "CROWDED_SHARE", share)
    monkeypatch.setattr(dropping, "_small_parts", lambda furnisher: None)
    monkeypatch.setattr(dropping.Dropper, "_equip_desk", lambda dropper, table: None)
    material = load_material(furniture, (), tmp_path, "train", ("KatorLegaz",))
    placed = build_stage(material, 11, 1, "train", "dining").placed
    tables = [p for p in placed if p.label == "table"]
    lying = [
        p
        for p in placed
        for table in tables
        if abs(p.bottom - table.top) < 0.02 and overlap(p.footprint, table.footprint)
    ]
    assert len(lying) >= 5 if share else not lying


def test_small_things_fit_a_table() -> None:
    rng = np.random.default_rng(0)
    surfaces = Surfaces([], rng)
    for _ in range(60):
        low, high = small_thing(surfaces, rng).bounds
        assert low[2] >= -1e-6
        assert (high - low).max() < 0.6


def test_cameras_see_something_and_stand_in_a_room(stages: list[Stage]) -> None:
    for stage in stages[:2]:
        rng = np.random.default_rng(3)
        shots = sample_shots(stage.tracer, stage.rooms, stage.placed, rng, 4, 64, 48)
        assert len(shots) == 4
        for shot in shots:
            x, y, z = shot.pose.position
            assert any(room.contains(float(x), float(y)) for room in stage.rooms)
            assert 0 < z < 4.5
            assert 50 <= np.degrees(2 * np.arctan(64 / 2 / shot.camera.fx)) <= 90
            assert view_score(stage.tracer, shot.camera, shot.pose, 0.25, 0.05) > 0.1
