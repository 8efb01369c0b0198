"""Rooms close, openings fit their walls, furniture stands free, small things lie on something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pag_ros.lab.scenes import dropping, fittings, furnish, lamps, surfaces, views
from pag_ros.lab.scenes.furnish import overlap, resized
from pag_ros.lab.scenes.mesh import Material, box
from pag_ros.lab.scenes.rooms import THEMES, random_rooms
from pag_ros.lab.scenes.stage import Stage, build_stage, load_material
from pag_ros.lab.scenes.surfaces import Surfaces, mean_color
from pag_ros.lab.scenes.things import small_thing
from pag_ros.lab.scenes.views import CLOSE, sample_shots, view_score


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
            assert view_score(stage.tracer, shot.camera, shot.pose, CLOSE, 0.05) > 0.1


def test_close_ups_are_taken_from_the_side_more_often_than_from_overhead() -> None:
    rng = np.random.default_rng(0)
    eyes = np.array([views._close_eye(np.zeros(3), rng) for _ in range(2000)])
    distance = np.linalg.norm(eyes, axis=1)
    lift = np.degrees(np.arcsin(eyes[:, 2] / distance))
    assert (distance > views.CLOSE_METRES[0]).all()
    assert (distance < views.CLOSE_METRES[1]).all()
    assert 7.9 < lift.min() < 15.0
    assert 70.0 < lift.max() < 80.1
    assert 35.0 < lift.mean() < 40.0


def test_close_ups_look_at_worktops_from_near(
    stages: list[Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "CLOSE_SHARE", 1.0)
    monkeypatch.setattr(views, "WORKTOP_SHARE", 1.0)
    low, high = views.WORKTOP_METRES
    for stage in stages[:2]:
        rng = np.random.default_rng(3)
        for shot in sample_shots(stage.tracer, stage.rooms, stage.placed, rng, 6, 64, 48):
            middle = shot.pose.rotation[:, 2][None]
            seen = stage.tracer.hits(shot.pose.position[None], middle)
            assert seen.distance[0] < 3
            assert low < shot.pose.position[2] < high + views.CLOSE_METRES[1] + 0.8


def test_cameras_stand_between_knee_and_head(
    stages: list[Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "CLOSE_SHARE", 0.0)
    stage, rng = stages[0], np.random.default_rng(0)
    shots = sample_shots(stage.tracer, stage.rooms, stage.placed, rng, 24, 64, 48)
    height = np.array([shot.pose.position[2] for shot in shots])
    assert height.min() >= 0.15
    assert height.max() <= 1.9
    assert height.min() < 0.6 < 1.2 < height.max()


def test_heights_of_tables_are_usual_or_anything_up_to_a_bar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    some = Surfaces([], rng)
    for share, low, high in ((0.0, 0.68, 0.78), (1.0, *fittings.UNUSUAL_HEIGHT_METRES)):
        monkeypatch.setattr(fittings, "UNUSUAL_HEIGHT_SHARE", share)
        tops = [fittings.simple_table(some, rng)[0].mesh.bounds[1, 2] for _ in range(40)]
        assert low - 1e-6 <= min(tops)
        assert max(tops) <= high + 1e-6
        assert max(tops) - min(tops) > 0.8 * (high - low)


def test_wall_units_hang_clear_of_a_high_worktop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fittings, "UNUSUAL_HEIGHT_SHARE", 1.0)
    monkeypatch.setattr(fittings, "UNUSUAL_HEIGHT_METRES", (1.15, 1.15))
    rng = np.random.default_rng(0)
    for _ in range(8):
        row = fittings.kitchen_row(Surfaces([], rng), rng, 1.5)
        assert row[0].mesh.bounds[1, 2] == pytest.approx(1.15, abs=0.01)
        upper = [p for p in row[1:] if p.label == "cabinet"]
        assert all(p.mesh.bounds[0, 2] > 1.15 + 0.4 for p in upper)


def test_things_are_resized_by_15_percent_at_most() -> None:
    rng, thing = np.random.default_rng(0), box((1.0, 1.0, 1.0), Material())
    sizes = np.array([np.ptp(resized(thing, rng).bounds, axis=0) for _ in range(400)])
    assert 0.85 <= sizes.min() < 0.88
    assert 1.12 < sizes.max() <= 1.15


def test_doors_can_have_nearly_the_colour_of_the_walls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surfaces, "LIKE_WALL_SHARE", 1.0)
    for seed in range(10):
        some = Surfaces([], np.random.default_rng(seed))
        wall = np.array(mean_color(some.wall()))
        np.testing.assert_allclose(some.paint_color(), wall.clip(0.02, 0.95), rtol=0.2)


def test_posters_lie_flat_on_the_wall(
    furniture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(furnish, "POSTER_SHARE", 1.0)
    material = load_material(furniture, (), tmp_path, "train", ("KatorLegaz",))
    sheets = [
        piece
        for number in range(4)
        for piece in build_stage(material, 3, number, "train", "living").placed
        if piece.label == "object" and piece.bottom >= 0.6 and len(piece.parts[0].mesh.faces) == 12
    ]
    thickness = [
        min(p.footprint[2] - p.footprint[0], p.footprint[3] - p.footprint[1]) for p in sheets
    ]
    assert min(thickness) < 0.003


@pytest.mark.parametrize("strong", [False, True])
def test_strong_sun_outshines_the_rest(strong: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lamps, "SUNNY_SHARE", 1.0)
    monkeypatch.setattr(lamps, "STRONG_SUN_SHARE", float(strong))
    low, high = lamps.STRONG_SUN_POWER if strong else lamps.SUN_POWER
    found = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        rooms = random_rooms(rng, "living")
        lighting = lamps.random_lighting(rooms[0], lamps.hang_lamps(rooms, rng), rng)
        assert len(lighting.lights) <= lamps.MAX_LIGHTS
        if lighting.sun is not None:
            assert low <= lighting.sun.power[0] <= high
            assert lighting.sun.towards[2] > 0
            found += 1
    assert found > 3


def test_a_scene_is_seen_in_another_light(stages: list[Stage]) -> None:
    stage = stages[0]
    one, other = (stage.relit(np.random.default_rng(seed)) for seed in (1, 2))
    assert one.scene.lighting != other.scene.lighting
    assert one.scene.vertices is other.scene.vertices
    again = stage.relit(np.random.default_rng(1))
    assert again.scene.lighting == one.scene.lighting
