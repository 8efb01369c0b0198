"""The session of a transformer: a graph for each rung, what it tells of a frame, what it cannot do.

Driver and engine are doubles (`gpu_double`): NumPy memory, a stream that works when it is waited
for, and OpenVINO in TensorRT's place. So nothing is known here of what CUDA and TensorRT answer,
whether TensorRT's contexts may share memory, of a GPU's speed, or of half precision's numbers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gpu_double import ENCODER_NS, HOST_STEP_NS, PIXEL_NS, CountedEngineDouble, DriverDouble

from pag_ros.budget import Allowance, Controller, ControllerSettings
from pag_ros.errors import BackendError, ImageError, ParameterError
from pag_ros.manifest import load_manifest
from pag_ros.runtime import Deadline, Perception, PlannedSession, Session, open_session
from pag_ros.runtime.calibration import calibrate_quickly
from pag_ros.runtime.tensorrt.driver import OutOfMemoryError
from pag_ros.runtime.tensorrt.ladder import rungs
from pag_ros.runtime.tensorrt.standard_graph import standard_path
from pag_ros.runtime.tensorrt.standard_session import StandardSession

FOCAL_PX = 90.0
IMAGE = np.random.default_rng(0).integers(0, 256, (84, 112, 3), np.uint8)
ALL = (48,) * 8


class Machine:
    """A session with its doubles, and what it says."""

    def __init__(self, model: Path, driver: DriverDouble | None = None, **options: object) -> None:
        self.driver = driver or DriverDouble(**options)  # type: ignore[arg-type]
        manifest = load_manifest(model)
        self.engine = CountedEngineDouble(standard_path(model), manifest, self.driver)
        self.ladder = rungs(manifest)
        self.said: list[str] = []
        self.session = StandardSession(
            manifest, self.driver, self.engine, "tensorrt 10 fp16", self.said.append
        )


@pytest.fixture
def machine(transformer: Path) -> Iterator[Machine]:
    machine = Machine(transformer)
    yield machine
    machine.session.close()


@pytest.fixture(scope="module")
def cpu(transformer: Path) -> Iterator[Session]:
    session = open_session(transformer, "cpu", 1)
    yield session
    session.close()


def assert_same(session: Session, cpu: Session, keep: tuple[int, ...], image: np.ndarray) -> None:
    found, expected = session.infer(image, FOCAL_PX, keep), cpu.infer(image, FOCAL_PX, keep)
    assert found.keep_used == expected.keep_used == keep
    spread = expected.depth.std()
    assert spread > 0.02
    assert np.abs(found.depth - expected.depth).max() < 0.02 * spread
    assert np.median(np.abs(found.normals - expected.normals)) < 2e-3
    np.testing.assert_array_equal(found.computed, expected.computed)
    assert np.unique(expected.labels).tolist() == [0, 1, 2]
    assert np.mean(found.labels == expected.labels) > 0.99
    assert np.abs(found.confidence - expected.confidence).max() < 0.02
    assert found.boundary is None


@pytest.mark.parametrize("integrated", [False, True])
def test_every_rung_gives_what_the_cpu_gives_whatever_ran_before(
    transformer: Path, cpu: Session, integrated: bool
) -> None:
    machine = Machine(transformer, integrated=integrated)
    for turn, keep in enumerate([*machine.ladder[::-2], *machine.ladder[::3]]):
        assert_same(machine.session, cpu, keep, IMAGE if turn % 2 else 255 - IMAGE)
    machine.session.close()


def test_the_focal_length_of_the_frame_counts(machine: Machine, cpu: Session) -> None:
    for focal_px in (60.0, 140.0):
        found, expected = (s.infer(IMAGE, focal_px, ALL) for s in (machine.session, cpu))
        assert np.median(np.abs(found.normals - expected.normals)) < 2e-3


def test_each_rung_is_recorded_once_and_a_frame_is_one_replay(machine: Machine) -> None:
    assert machine.driver.calls.count("record") == len(machine.ladder) < 10
    assert "9 rungs, CUDA graphs" in machine.session.backend
    for keep in machine.ladder:
        machine.driver.calls.clear()
        machine.session.infer(IMAGE, FOCAL_PX, keep)
        assert machine.driver.calls == ["replay", "synchronize"]


def test_less_is_computed_where_no_rung_fits_and_that_is_told(machine: Machine) -> None:
    below = machine.ladder[4]
    asked = tuple(count + 1 for count in below)
    result = machine.session.infer(IMAGE, FOCAL_PX, asked)
    assert result.keep_used == below
    assert int(result.computed[7::14, 7::14].sum()) == sum(below)
    assert machine.engine.ran[-1][0] == below


def test_one_patch_in_every_block_is_the_least(machine: Machine) -> None:
    assert machine.session.infer(IMAGE, FOCAL_PX, (0,) * 8).keep_used == (1,) * 8


def test_all_rungs_work_in_the_same_memory(machine: Machine) -> None:
    assert len({work_at for _, work_at in machine.engine.ran}) == 1


def test_a_frame_is_timed_whole_and_divided(transformer: Path, monkeypatch) -> None:
    driver = DriverDouble()
    monkeypatch.setattr("pag_ros.runtime.tensorrt.standard_session.time", driver)
    machine = Machine(transformer, driver)
    assert machine.session.stages == ("encoder", *(f"block{i}" for i in range(8)), "heads")
    least = 1e-9 * (ENCODER_NS + 8 * PIXEL_NS)
    for keep in machine.ladder:
        encoder, *blocks, heads = machine.session.infer(IMAGE, FOCAL_PX, keep).stage_seconds
        total = 1e-9 * (ENCODER_NS + PIXEL_NS * sum(keep))
        assert encoder + sum(blocks) == pytest.approx(total, abs=5e-9 * HOST_STEP_NS)
        assert encoder == pytest.approx(least, abs=5e-9 * HOST_STEP_NS)
        # Patches cost the same in every block.
        expected = (total - encoder) * np.array(keep) / sum(keep)
        np.testing.assert_allclose(blocks, expected, atol=5e-9 * HOST_STEP_NS)
        assert heads == 0.0
    machine.session.close()


def test_a_frame_that_is_faster_than_the_lowest_rung_was_has_no_negative_stage(
    machine: Machine, monkeypatch
) -> None:
    monkeypatch.setattr(machine.session, "_ungated_s", 1e3)
    assert min(machine.session.infer(IMAGE, FOCAL_PX, ALL).stage_seconds) == 0.0


def test_a_deadline_trims_nothing_and_that_is_said_once(machine: Machine) -> None:
    late = Deadline(time.perf_counter() - 1.0, (1.0,) * 10)
    for _ in range(3):
        assert machine.session.infer(IMAGE, FOCAL_PX, ALL, late).keep_used == ALL
    assert len(machine.said) == 1
    assert "not trimmed while it runs" in machine.said[0]


def test_thresholds_are_refused(machine: Machine) -> None:
    with pytest.raises(BackendError, match=r"without thresholds.*mode deadline or fixed"):
        machine.session.infer(IMAGE, FOCAL_PX, ALL, None, (0.0,) * 8)


def test_what_cannot_be_recorded_is_launched_piece_by_piece(
    transformer: Path, cpu: Session
) -> None:
    machine = Machine(transformer, records=False)
    assert "9 rungs, without CUDA graph (CUDA: cuStreamEndCapture" in machine.session.backend
    for keep in (ALL, machine.ladder[2]):
        assert_same(machine.session, cpu, keep, IMAGE)
    machine.session.close()


@pytest.mark.parametrize("allocations", range(6))
def test_without_memory_everything_is_given_back(transformer: Path, allocations: int) -> None:
    driver = DriverDouble(allocations=allocations)
    manifest = load_manifest(transformer)
    engine = CountedEngineDouble(standard_path(transformer), manifest, driver)
    with pytest.raises(OutOfMemoryError, match="1 MiB needed, 0 MiB free"):
        StandardSession(manifest, driver, engine, "", print)
    assert engine.is_closed
    assert driver.is_closed


def test_an_engine_that_does_not_run_is_told_and_closed(transformer: Path) -> None:
    driver, manifest = DriverDouble(), load_manifest(transformer)
    engine = CountedEngineDouble(standard_path(transformer), manifest, driver)
    engine.refuses = True
    with pytest.raises(BackendError, match="cannot run the engine"):
        StandardSession(manifest, driver, engine, "", print)
    assert engine.is_closed
    assert driver.is_closed


def test_wrong_arguments_are_refused_before_the_gpu_is_asked(machine: Machine) -> None:
    machine.driver.calls.clear()
    with pytest.raises(ImageError):
        machine.session.infer(IMAGE[:, :-1], FOCAL_PX, ALL)
    with pytest.raises(ValueError, match="keep"):
        machine.session.infer(IMAGE, FOCAL_PX, (49,) * 8)
    assert machine.driver.calls == []


def test_a_prediction_survives_the_next_frame(machine: Machine) -> None:
    first = machine.session.infer(IMAGE, FOCAL_PX, ALL)
    kept = first.depth.copy()
    machine.session.infer(255 - IMAGE, FOCAL_PX, machine.ladder[1])
    np.testing.assert_array_equal(first.depth, kept)


def test_a_closed_session_says_so(machine: Machine) -> None:
    machine.session.close()
    machine.session.close()
    assert machine.engine.is_closed
    assert machine.driver.is_closed
    with pytest.raises(RuntimeError, match="closed"):
        machine.session.infer(IMAGE, FOCAL_PX, ALL)


def perception(machine: Machine, settings: ControllerSettings | None = None) -> Perception:
    session = machine.session
    table = calibrate_quickly(session)
    return Perception(PlannedSession(session, Controller(session.manifest, table, settings)))


def test_the_table_is_of_the_counts_that_were_computed(machine: Machine) -> None:
    table = calibrate_quickly(machine.session)
    first = table.stages[1]
    assert first.keep[0] == 1
    assert set(first.keep) <= {rung[0] for rung in machine.ladder}


def test_the_deadline_is_kept_by_the_budget_of_the_frames(
    transformer: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    driver = DriverDouble()
    monkeypatch.setattr("pag_ros.runtime.tensorrt.standard_session.time", driver)
    machine = Machine(transformer, driver)
    node = perception(machine)
    slow, fast = (1e-9 * (ENCODER_NS + PIXEL_NS * n) for n in (8 * 48, 8 * 20))
    for allowed_s, least in ((10.0 * slow, 1.0), (fast, 0.2)):
        for _ in range(60):
            result = node.process(
                IMAGE, FOCAL_PX, Allowance.from_now(time.perf_counter(), allowed_s)
            )
        assert result is not None
        assert least <= result.density
        assert sum(result.stage_seconds) <= allowed_s
        assert all(np.less_equal(result.keep_used, result.keep_planned))
    assert result.density < 0.5
    node.close()


def test_mode_adaptive_is_refused_at_the_start_and_later(machine: Machine) -> None:
    adaptive = ControllerSettings("adaptive", 0.5)
    sentence = (
        "mode adaptive needs thresholds, which small lacks on tensorrt; use deadline or fixed"
    )
    with pytest.raises(ParameterError, match=sentence):
        perception(machine, adaptive)
    node = perception(machine)
    before = node.settings
    with pytest.raises(ParameterError, match=sentence):
        node.settings = adaptive
    assert node.settings is before
