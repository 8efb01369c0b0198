"""Power mode, clocks and temperatures as the kernel tells them; nothing that is odd hurts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pag_ros.runtime.machine_state import (
    MachineState,
    clock_ratio,
    power_mode,
    read_machine_state,
)

CPU = "sys/devices/system/cpu"
GPU = "sys/class/devfreq/17000000.ga10b"
ZONE = "sys/class/thermal/thermal_zone"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def jetson(tmp_path: Path) -> Path:
    return write(
        tmp_path,
        {
            f"{CPU}/cpu0/cpufreq/scaling_cur_freq": "729600\n",
            f"{CPU}/cpu0/cpufreq/scaling_max_freq": "1510400\n",
            f"{CPU}/cpu0/cpufreq/scaling_governor": "schedutil\n",
            f"{CPU}/cpu1/cpufreq/scaling_cur_freq": "1510400\n",
            f"{CPU}/cpu1/cpufreq/scaling_max_freq": "1510400\n",
            f"{GPU}/cur_freq": "306000000\n",
            f"{GPU}/max_freq": "612000000\n",
            "sys/class/devfreq/15340000.vic/cur_freq": "115200000\n",
            f"{ZONE}0/type": "CPU-therm\n",
            f"{ZONE}0/temp": "48500\n",
            f"{ZONE}1/type": "CPU-therm\n",
            f"{ZONE}1/temp": "51250\n",
            f"{ZONE}2/type": "CV0-therm\n",
            f"{ZONE}2/temp": "-256000\n",
            "var/lib/nvpmodel/status": "pmode:0002 fmode:quiet\n",
        },
    )


def test_a_jetson_tells_everything(jetson):
    assert read_machine_state(jetson) == MachineState(
        power_mode="nvpmodel 2",
        cpu_hz=1.12e9,
        gpu_hz=306e6,
        temperatures={"CPU-therm": 51.25},
        cpu_limit_hz=1.5104e9,
        gpu_limit_hz=612e6,
    )


def test_the_gpu_of_older_jetsons_is_found(tmp_path):
    write(tmp_path, {"sys/devices/gpu.0/devfreq/17000000.gp10b/cur_freq": "1300500000"})
    assert read_machine_state(tmp_path).gpu_hz == 1300.5e6


def test_elsewhere_the_profile_and_the_governor_are_the_power_mode(tmp_path):
    assert power_mode(tmp_path) is None
    write(tmp_path, {f"{CPU}/cpu0/cpufreq/scaling_governor": "powersave\n"})
    assert power_mode(tmp_path) == "powersave"
    write(tmp_path, {"sys/firmware/acpi/platform_profile": "low-power\n"})
    assert power_mode(tmp_path) == "low-power powersave"


def test_a_machine_that_tells_nothing_is_no_error(tmp_path):
    assert read_machine_state(tmp_path) == MachineState()
    assert read_machine_state(tmp_path / "missing") == MachineState()


def test_the_machine_that_runs_this_can_be_asked():
    assert isinstance(read_machine_state(), MachineState)


@pytest.mark.parametrize(
    "text", ["", "\n", "fast", "<unsupported>", "-1", "9" * 5000, "\0\xff", "1"]
)
def test_senseless_contents_count_as_missing(jetson, text):
    for path in [path for path in jetson.rglob("*") if path.is_file()]:
        path.write_text(text)
    state = read_machine_state(jetson)
    assert (state.cpu_hz, state.cpu_limit_hz, state.gpu_hz, state.gpu_limit_hz) == (None,) * 4
    assert all(-60 <= celsius <= 200 for celsius in state.temperatures.values())


def test_folders_and_pipes_in_the_place_of_files_count_as_missing(jetson):
    for path in [path for path in jetson.rglob("*") if path.is_file()]:
        path.unlink()
        path.mkdir() if path.name.startswith("scaling") else os.mkfifo(path)
    assert read_machine_state(jetson) == MachineState()


def test_nothing_is_written(jetson):
    before = {path: path.stat().st_mtime_ns for path in jetson.rglob("*")}
    read_machine_state(jetson)
    assert {path: path.stat().st_mtime_ns for path in jetson.rglob("*")} == before


def test_a_lower_limit_is_a_slower_clock():
    before = MachineState(cpu_limit_hz=2e9, gpu_limit_hz=1e9)
    assert clock_ratio(before, MachineState(cpu_limit_hz=1e9)) == pytest.approx(2.0)
    assert clock_ratio(before, MachineState(gpu_limit_hz=1.25e9), "gpu") == pytest.approx(0.8)


def test_the_clock_of_a_moment_counts_only_without_a_limit():
    before = MachineState(cpu_hz=2e9, cpu_limit_hz=2e9)
    assert clock_ratio(before, MachineState(cpu_hz=1e9, cpu_limit_hz=2e9)) is None
    assert clock_ratio(before, MachineState(cpu_hz=1e9)) == pytest.approx(2.0)


def test_a_small_or_unknown_change_is_none():
    before = MachineState(cpu_limit_hz=2e9)
    assert clock_ratio(before, MachineState(cpu_limit_hz=1.92e9)) is None
    assert clock_ratio(before, MachineState()) is None
    assert clock_ratio(before, MachineState(gpu_limit_hz=1e9), "gpu") is None
