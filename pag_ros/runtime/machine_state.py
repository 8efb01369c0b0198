"""What the machine says about its power mode, clocks and temperatures: read only, from files.

Everything is optional: a file that is missing, unreadable or senseless counts as not there. The
paths are those of the Linux kernel (Documentation/ABI: cpufreq, devfreq, thermal, platform_profile)
and of NVIDIA's nvpmodel on Jetson.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from pag_ros.runtime.session import Device

_ROOT = Path("/")
_MAX_BYTES = 256
_MAX_ENTRIES = 512
_VISIBLE_CHANGE = 0.05
_POSSIBLE_HZ = (1e6, 1e11)
_POSSIBLE_C = (-60.0, 200.0)
"""Jetson reports -256 degrees for a part that is switched off."""

_CPUFREQ = "sys/devices/system/cpu/cpu[0-9]*/cpufreq"
_DEVFREQ = ("sys/class/devfreq/*", "sys/devices/gpu.0/devfreq/*")
_GPU_NAME = re.compile(r"gpu|\.(gm20b|gp10b|gv11b|ga10b)$")
_NVPMODEL = re.compile(r"pmode:0*(\d{1,4})\b")
_WORD = re.compile(r"[\w.+-]{1,32}", re.ASCII)


@dataclass(frozen=True)
class MachineState:
    """A look at the machine; None where it does not say.

    Attributes:
        power_mode: what its owner has chosen, e.g. "nvpmodel 2" or "balanced schedutil".
        cpu_hz, gpu_hz: clocks right now, the mean of all CPUs.
        temperatures: thermal zone -> degrees Celsius, the hottest of those with one name.
        cpu_limit_hz, gpu_limit_hz: how fast they may run at present; throttling and the power
            mode lower it, an idle moment does not.
    """

    power_mode: str | None = None
    cpu_hz: float | None = None
    gpu_hz: float | None = None
    temperatures: dict[str, float] = field(default_factory=dict)
    cpu_limit_hz: float | None = None
    gpu_limit_hz: float | None = None


def read_machine_state(root: Path = _ROOT) -> MachineState:
    """Look at the machine; for once a second or so, since drivers may take their time to answer.

    Args:
        root: folder in which sys/ and var/ lie.
    """
    cpus = _folders(root, _CPUFREQ)
    gpus = [f for pattern in _DEVFREQ for f in _folders(root, pattern) if _GPU_NAME.search(f.name)]
    return MachineState(
        power_mode=power_mode(root),
        cpu_hz=_mean_hz((cpu / "scaling_cur_freq" for cpu in cpus), unit_hz=1e3),
        gpu_hz=_mean_hz((gpu / "cur_freq" for gpu in gpus[:1]), unit_hz=1.0),
        temperatures=_temperatures(root),
        cpu_limit_hz=_mean_hz((cpu / "scaling_max_freq" for cpu in cpus), unit_hz=1e3),
        gpu_limit_hz=_mean_hz((gpu / "max_freq" for gpu in gpus[:1]), unit_hz=1.0),
    )


def power_mode(root: Path = _ROOT) -> str | None:
    """nvpmodel's mode on a Jetson, else the platform profile and the CPUs' governor."""
    if found := _NVPMODEL.search(_text(root / "var/lib/nvpmodel/status")):
        return f"nvpmodel {found.group(1)}"
    profile = _text(root / "sys/firmware/acpi/platform_profile")
    governor = _text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    words = [word for word in (profile, governor) if _WORD.fullmatch(word)]
    return " ".join(words) or None


def clock_ratio(before: MachineState, after: MachineState, device: Device = "cpu") -> float | None:
    """How many times slower a device's clock has become; less than 1 if it is faster now.

    The limits are compared where both are known: the clock of a moment also follows the load, and
    that shows in the frames' durations by itself.

    Args:
        device: that computes.

    Returns:
        The ratio, or None if nothing is known or it has changed by 5 % at most.
    """
    for name in (f"{device}_limit_hz", f"{device}_hz"):
        old, new = getattr(before, name), getattr(after, name)
        if old and new:
            return float(old / new) if abs(new / old - 1.0) > _VISIBLE_CHANGE else None
    return None


def _temperatures(root: Path) -> dict[str, float]:
    hottest: dict[str, float] = {}
    for zone in _folders(root, "sys/class/thermal/thermal_zone*"):
        name = _text(zone / "type")
        celsius = _number(zone / "temp", unit=1e-3, possible=_POSSIBLE_C)
        if celsius is not None and _WORD.fullmatch(name):
            hottest[name] = max(celsius, hottest.get(name, -math.inf))
    return hottest


def _mean_hz(paths: Iterable[Path], unit_hz: float) -> float | None:
    values = [_number(path, unit_hz, _POSSIBLE_HZ) for path in paths]
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _number(path: Path, unit: float, possible: tuple[float, float]) -> float | None:
    try:
        value = int(_text(path)) * unit
    except ValueError:
        return None
    return value if possible[0] <= value <= possible[1] else None


def _text(path: Path) -> str:
    """The beginning of a small file without the white space around it; empty if there is none."""
    try:
        # Only a regular file is sure to be read without waiting for somebody to write it.
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode("ascii", "replace").strip()
    except (OSError, ValueError):
        return ""


def _folders(root: Path, pattern: str) -> list[Path]:
    try:
        return sorted(islice(root.glob(pattern), _MAX_ENTRIES))
    except OSError:
        return []
