"""The host's knowledge of the GPU's clock; clocks, launches and waits are simulated."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pag_ros.runtime.tensorrt.gpu_clock import GpuClock

LAUNCH_S, BACK_S, WORK_S = 10e-6, 40e-6, 5e-3


@dataclass
class Machine:
    """Two clocks, the GPU's `ahead_s` in front and running faster by `drift`."""

    ahead_s: float = 1.7e9
    drift: float = 0.0
    host_s: float = 1000.0
    pause_s: float = 28e-3

    def gpu_ns(self, host_s: float) -> int:
        return round((host_s * (1.0 + self.drift) + self.ahead_s) * 1e9)

    def frame(self, clock: GpuClock, wait_s: float = 0.0, back_s: float = 0.0) -> None:
        launched = self.host_s
        start = launched + LAUNCH_S + wait_s
        end = start + WORK_S
        self.host_s = end + BACK_S + back_s
        clock.observe(launched, self.gpu_ns(start), self.gpu_ns(end), self.host_s)
        self.host_s += self.pause_s

    def error_s(self, clock: GpuClock) -> float:
        """By how much the host believes the GPU's clock to be in front of what it shows."""
        return (clock.at(self.host_s) - self.gpu_ns(self.host_s)) * 1e-9


def settled(machine: Machine) -> GpuClock:
    clock = GpuClock()
    for _ in range(6):
        machine.frame(clock)
    return clock


def test_an_idle_gpu_is_known_to_a_launch() -> None:
    machine = Machine()
    clock = settled(machine)
    assert machine.error_s(clock) == pytest.approx(LAUNCH_S, abs=2e-6)
    assert clock.host_seconds(clock.at(1234.5)) == pytest.approx(1234.5, abs=1e-6)


@given(
    waits=st.lists(st.floats(1e-3, 50e-3), min_size=1, max_size=200),
    backs=st.lists(st.floats(0.0, 2e-3), min_size=1, max_size=7),
)
def test_waiting_before_every_frame_does_not_move_it(
    waits: list[float], backs: list[float]
) -> None:
    """Beyond the frames that are remembered, and with copies that are sometimes slow as well."""
    machine = Machine()
    clock = settled(machine)
    for number, wait in enumerate(waits):
        machine.frame(clock, wait, backs[number % len(backs)])
    # Too early by the slow copies at most: then frames are trimmed sooner, never later.
    assert -max(backs) - 1e-3 <= machine.error_s(clock) <= LAUNCH_S + 2e-6


@pytest.mark.parametrize("drift", [-5e-5, 5e-5])
def test_clocks_that_drift_apart_are_followed(drift: float) -> None:
    machine = Machine(drift=drift, pause_s=1.0)
    clock = settled(machine)
    for _ in range(600):  # ten minutes, in which they drift 30 ms apart
        machine.frame(clock)
    assert abs(machine.error_s(clock)) < 0.3e-3


def test_a_busy_start_is_forgotten_in_the_first_idle_frames() -> None:
    machine, clock = Machine(), GpuClock()
    for _ in range(6):
        machine.frame(clock, wait_s=20e-3)
    assert machine.error_s(clock) == pytest.approx(20e-3, abs=1e-4)
    machine.frame(clock)
    assert machine.error_s(clock) == pytest.approx(LAUNCH_S, abs=1e-4)


@pytest.mark.parametrize("jump_s", [-1e9, -1.0, 1.0, 1e6])
def test_a_clock_that_was_set_is_learned_anew_from_one_frame(jump_s: float) -> None:
    machine = Machine()
    clock = settled(machine)
    machine.ahead_s += jump_s
    machine.frame(clock)
    assert abs(machine.error_s(clock)) < 1e-4
    machine.frame(clock, back_s=5e-3)  # tells less, and takes nothing away
    assert abs(machine.error_s(clock)) < 1e-4


def test_a_clock_that_shows_milliseconds_is_known_to_a_millisecond() -> None:
    class Coarse(Machine):
        def gpu_ns(self, host_s: float) -> int:
            return super().gpu_ns(host_s) // 1_048_576 * 1_048_576

    machine, clock = Coarse(), GpuClock()
    for _ in range(100):
        machine.frame(clock)
        assert abs(machine.error_s(clock)) < 2.2e-3


def test_before_the_first_frame_nothing_is_known() -> None:
    clock = GpuClock()
    assert not clock.is_known
    with pytest.raises(RuntimeError, match="before a frame has run"):
        clock.at(0.0)
    Machine().frame(clock)
    assert clock.is_known
