"""The TensorRT session's logic: buffers, the one graph, budgets, times, and every way to fail.

Driver and engine are doubles (`gpu_double`): NumPy memory, a stream that works when it is waited
for, and the CPU session in the network's place. So nothing here is known of what CUDA and TensorRT
answer, of a GPU's speed, or of the numbers of half precision.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gpu_double import (
    ENCODER_NS,
    HEADS_NS,
    HOST_STEP_NS,
    PIXEL_NS,
    STAMP,
    DriverDouble,
    EngineDouble,
)

from pag_ros.budget import Allowance
from pag_ros.errors import BackendError, ImageError
from pag_ros.manifest import load_manifest
from pag_ros.runtime import Deadline, Perception, PlannedSession, Session, open_session
from pag_ros.runtime.calibration import calibrate_quickly, latency_key
from pag_ros.runtime.tensorrt.driver import OutOfMemoryError
from pag_ros.runtime.tensorrt.session import TensorRtSession

FOCAL_PX = 50.0
IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


class Machine:
    """A session with its doubles."""

    def __init__(self, model: Path, driver: DriverDouble | None = None, **options: object) -> None:
        self.driver = driver or DriverDouble(**options)  # type: ignore[arg-type]
        self.engine = EngineDouble(model, self.driver)
        manifest = load_manifest(model)
        self.session = TensorRtSession(
            manifest, self.driver, self.engine, STAMP, "tensorrt 10 fp16"
        )


@pytest.fixture
def machine(tiny_model: Path) -> Iterator[Machine]:
    machine = Machine(tiny_model)
    yield machine
    machine.session.close()


@pytest.fixture(scope="module")
def cpu(tiny_model: Path) -> Iterator[Session]:
    session = open_session(tiny_model, "cpu", 1)
    yield session
    session.close()


@pytest.mark.parametrize("integrated", [False, True])
def test_one_recorded_graph_serves_every_budget_image_and_focal_length(
    tiny_model: Path, cpu: Session, integrated: bool
) -> None:
    machine = Machine(tiny_model, integrated=integrated)
    for keep, image, focal_px in [
        ((48, 24), IMAGE, FOCAL_PX),
        ((0, 0), 255 - IMAGE, 80.0),
        ((7, 48), IMAGE, 40.0),
    ]:
        found = machine.session.infer(image, focal_px, keep)
        expected = cpu.infer(image, focal_px, keep)
        for name in ("depth", "normals", "labels", "confidence"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert found.boundary is None
        assert found.keep_used == keep
        assert found.computed[::8, ::8].sum() == sum(keep)
    assert machine.driver.calls.count("record") == 1
    machine.session.close()


def test_a_frame_is_one_replay_and_one_wait(machine: Machine) -> None:
    machine.driver.calls.clear()
    machine.session.infer(IMAGE, FOCAL_PX, (48, 24))
    assert machine.driver.calls == ["replay", "synchronize"]


def test_the_clock_is_stamped_before_anything_else(machine: Machine) -> None:
    calls = machine.driver.calls
    recorded = calls[calls.index("record") + 1 :][:4]
    assert recorded == ["stamp", "upload", "stamp", "download"]


def test_an_integrated_gpu_reads_the_inputs_where_they_are(tiny_model: Path) -> None:
    machine = Machine(tiny_model, integrated=True)
    machine.session.infer(IMAGE, FOCAL_PX, (1, 1))
    assert "upload" not in machine.driver.calls
    np.testing.assert_array_equal(machine.engine.seen[-1]["image"][0], IMAGE)
    machine.session.close()


def test_deadline_and_thresholds_reach_the_gpu(machine: Machine) -> None:
    machine.session.infer(IMAGE, FOCAL_PX, (48, 24))
    np.testing.assert_array_equal(machine.engine.seen[-1]["plan"], [[np.inf, 1, -np.inf]] * 2)
    deadline = Deadline(time.perf_counter() + 100.0, (1.0, 2.0, 3.0, 4.0))
    machine.session.infer(IMAGE, FOCAL_PX, (48, 24), deadline, (0.5, 0.25))
    limits = machine.engine.seen[-1]["plan"]
    # 100 s are left; from a block on there are the gated work (5 or 3 s) and the heads (4 s).
    np.testing.assert_allclose(limits[:, 0], [91.0, 93.0], atol=0.5)
    np.testing.assert_array_equal(limits[:, 1:], [[5.0, 0.5], [3.0, 0.25]])


def test_stages_are_timed_by_the_gpus_clock(machine: Machine) -> None:
    began = time.perf_counter()
    result = machine.session.infer(IMAGE, FOCAL_PX, (48, 24))
    took = time.perf_counter() - began
    encoder, first, second, heads = result.stage_seconds
    assert machine.session.stages == ("encoder", "block0", "block1", "heads")
    assert encoder >= ENCODER_NS * 1e-9
    assert first == pytest.approx(48 * PIXEL_NS * 1e-9)
    assert second == pytest.approx(24 * PIXEL_NS * 1e-9)
    assert heads >= HEADS_NS * 1e-9 * 0.999
    assert sum(result.stage_seconds) <= max(took, 1e-9 * (ENCODER_NS + HEADS_NS + 72 * PIXEL_NS))


@pytest.mark.parametrize("wait_ns", [0, 8_000_000])
def test_a_frame_counts_from_the_call_also_while_it_waits_for_the_gpu(
    tiny_model: Path, monkeypatch, wait_ns: int
) -> None:
    driver = DriverDouble()
    monkeypatch.setattr("pag_ros.runtime.tensorrt.session.time", driver)
    machine = Machine(tiny_model, driver)
    driver.wait_ns = wait_ns
    for _ in range(3):
        began = driver.perf_counter()
        deadline = Deadline(began + 0.1, (0.02, 0.01, 0.01, 0.01))
        result = machine.session.infer(IMAGE, FOCAL_PX, (48, 24), deadline)
        took_ns = round((driver.perf_counter() - began) * 1e9)
        given = machine.engine.seen[-1]
        # What the first Select compares: the time since the call, and when it had to begin.
        first = driver.now_ns - took_ns + wait_ns + ENCODER_NS
        elapsed_ns = first - int(given["clock"].view(np.int64)[0])
        assert elapsed_ns == pytest.approx(wait_ns + ENCODER_NS, abs=20 * HOST_STEP_NS)
        assert given["plan"][0, 0] == pytest.approx(0.1 - 0.01 - 0.02, abs=20e-6)
        assert result.stage_seconds[0] == pytest.approx(1e-9 * (wait_ns + ENCODER_NS), abs=20e-6)
        assert result.stage_seconds[-1] == pytest.approx(1e-9 * HEADS_NS, abs=20e-6)
    machine.session.close()


def test_a_prediction_survives_the_next_frame(machine: Machine) -> None:
    first = machine.session.infer(IMAGE, FOCAL_PX, (48, 48))
    kept = first.depth.copy()
    machine.session.infer(255 - IMAGE, FOCAL_PX, (5, 5))
    np.testing.assert_array_equal(first.depth, kept)


def test_what_cannot_be_recorded_is_launched_piece_by_piece(tiny_model: Path, cpu: Session) -> None:
    machine = Machine(tiny_model, records=False)
    assert "without CUDA graph" in machine.session.backend
    found = machine.session.infer(IMAGE, FOCAL_PX, (48, 24))
    np.testing.assert_array_equal(found.depth, cpu.infer(IMAGE, FOCAL_PX, (48, 24)).depth)
    machine.session.close()


@pytest.mark.parametrize("allocations", [0, 1, 2, 3])
def test_without_memory_everything_is_given_back(tiny_model: Path, allocations: int) -> None:
    driver = DriverDouble(allocations=allocations)
    engine = EngineDouble(tiny_model, driver)
    with pytest.raises(OutOfMemoryError, match="1 MiB needed, 0 MiB free"):
        TensorRtSession(load_manifest(tiny_model), driver, engine, STAMP, "")
    assert engine.is_closed
    assert driver.is_closed


def test_an_engine_that_does_not_run_is_told_and_closed(tiny_model: Path) -> None:
    driver = DriverDouble()
    engine = EngineDouble(tiny_model, driver)
    engine.refuses = True
    with pytest.raises(BackendError, match="cannot run the engine"):
        TensorRtSession(load_manifest(tiny_model), driver, engine, STAMP, "")
    assert engine.is_closed
    assert driver.is_closed


def test_a_failed_frame_is_told_and_the_next_one_is_tried(
    machine: Machine, cpu: Session, monkeypatch
) -> None:
    synchronize = machine.driver.synchronize

    def fail() -> None:
        synchronize()
        raise BackendError("CUDA: cuStreamSynchronize failed: an illegal memory access")

    monkeypatch.setattr(machine.driver, "synchronize", fail)
    with pytest.raises(BackendError, match="illegal memory access"):
        machine.session.infer(IMAGE, FOCAL_PX, (1, 1))
    monkeypatch.undo()
    found = machine.session.infer(IMAGE, FOCAL_PX, (48, 24))
    np.testing.assert_array_equal(found.depth, cpu.infer(IMAGE, FOCAL_PX, (48, 24)).depth)


def test_wrong_arguments_are_refused_before_the_gpu_is_asked(machine: Machine) -> None:
    machine.driver.calls.clear()
    with pytest.raises(ImageError):
        machine.session.infer(IMAGE[:, :-1], FOCAL_PX, (1, 1))
    for focal_px, keep in [(0.0, (1, 1)), (FOCAL_PX, (49, 1)), (FOCAL_PX, (1,))]:
        with pytest.raises(ValueError, match=r"focal_px|keep"):
            machine.session.infer(IMAGE, focal_px, keep)
    with pytest.raises(ValueError, match="planned_seconds"):
        machine.session.infer(IMAGE, FOCAL_PX, (1, 1), Deadline(0.0, (1.0,)))
    with pytest.raises(ValueError, match="thresholds"):
        machine.session.infer(IMAGE, FOCAL_PX, (1, 1), None, (1.0,))
    assert machine.driver.calls == []


def test_a_closed_session_says_so(machine: Machine) -> None:
    machine.session.close()
    machine.session.close()
    assert machine.engine.is_closed
    assert machine.driver.is_closed
    with pytest.raises(RuntimeError, match="closed"):
        machine.session.infer(IMAGE, FOCAL_PX, (1, 1))


def test_the_controller_plans_with_it_as_with_any_session(
    machine: Machine, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    from pag_ros.budget import Controller

    session = machine.session
    assert "tensorrt 10 fp16, CUDA graph" in latency_key(session)
    table = calibrate_quickly(session)
    perception = Perception(PlannedSession(session, Controller(session.manifest, table)))
    result = perception.process(IMAGE, FOCAL_PX, Allowance.from_now(time.perf_counter(), 1.0))
    assert result is not None
    assert result.keep_used == result.keep_planned
