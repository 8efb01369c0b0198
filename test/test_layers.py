"""The rooms of the architecture: who may import whom, and where the heavy packages may appear."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest
from package_imports import PACKAGE, imported_names

PLAIN = {"errors", "checks", "reading", "writing", "folders"}
"""Single modules below all rooms."""

BASE = {*PLAIN, "manifest"}

BELOW = {
    "errors": set(),
    "checks": set(),
    "reading": {"errors"},
    "writing": set(),
    "folders": {"errors"},
    "manifest": PLAIN,
    "kernels": BASE,
    "image": {"kernels", *BASE},
    "budget": BASE,
    "runtime": {"image", "kernels", "budget", *BASE},
    "ros": {"runtime", "image", "kernels", "budget", *BASE},
    "evaluation": {"runtime", "image", "kernels", "budget", *BASE},
    "replay": {"ros", "evaluation", "runtime", "image", "kernels", "budget", *BASE},
    "cli": {"replay", "ros", "evaluation", "runtime", "image", "kernels", "budget", *BASE},
}
"""Room of the robot -> the rooms it may import besides itself. None imports the workbench."""

BELOW_IN_LAB = {
    "model": set(),
    "datasets": set(),
    "results": set(),
    "kernel_compiler": set(),
    "simulation": set(),
    "scenes": {"datasets"},
    "recordings": {"datasets"},
    "training": {"model", "datasets"},
    "export": {"training", "model"},
    "bench": {"export", "model", "kernel_compiler", "quantize", "transformers"},
    "baselines": {"bench", "export", "training", "model", "datasets", "results"},
    "gpu_check": {"bench", "kernel_compiler", "transformers"},
    "transformers": {"export", "training", "model", "datasets"},
    "gpu_train": {"scenes", "training", "model", "datasets"},
    "teachers": {"recordings", "datasets"},
    "tuning": {
        "export",
        "training",
        "model",
        "transformers",
        "teachers",
        "recordings",
        "datasets",
        "quantize",
    },
}
"""Room of the workbench -> its other rooms that it may import; its commands may import all."""

HOMES = {
    "torch": {"lab"},
    "onnxruntime": {"lab"},
    "embreex": {"lab"},
    "distributed": {"lab"},
    "triton": {"lab"},
    "rclpy": {"ros", "replay"},
    "cv_bridge": {"ros"},
    "sensor_msgs": {"ros", "replay"},
    "diagnostic_msgs": {"ros", "replay"},
    "rosbags": {"evaluation", "cli"},
    "matplotlib": {"evaluation", "replay", "lab", "cli"},
    "openvino": {"runtime", "lab"},
    "tensorrt": {"runtime"},
    "pycuda": {"runtime"},
}
"""Package -> the only rooms that import it."""

TORCH_ROOMS = {
    "model",
    "training",
    "export",
    "baselines",
    "bench",
    "gpu_check",
    "gpu_train",
    "transformers",
    "tuning",
    "commands",
}
"""Of the workbench."""

MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_only_from_below(module: Path) -> None:
    room, *inner = module.relative_to(PACKAGE).with_suffix("").parts
    used = [name.split(".")[1:] for name in imported_names(module) if name.startswith("pag_ros.")]
    if room in BELOW:
        assert {names[0] for names in used} <= BELOW[room] | {room, "__version__"}
    if room == "lab" and inner[0] in BELOW_IN_LAB:
        rooms = {names[1] for names in used if names[0] == "lab"}
        assert rooms <= BELOW_IN_LAB[inner[0]] | {inner[0]}


@pytest.mark.parametrize("module", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_packages_stay_at_home(module: Path) -> None:
    room, *inner = module.relative_to(PACKAGE).with_suffix("").parts
    used = {name.split(".")[0] for name in imported_names(module)}
    assert not {package for package in used if room not in HOMES.get(package, {room})}
    if room == "lab" and inner[0] not in TORCH_ROOMS:
        assert "torch" not in used


def test_every_room_is_known() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == (set(BELOW) | {"lab"}) - BASE
    inner = {path.parent.name for path in PACKAGE.glob("lab/*/__init__.py")}
    assert inner == set(BELOW_IN_LAB) | {"commands"}


def test_no_two_public_classes_have_one_name() -> None:
    homes = defaultdict(list)
    for module in MODULES:
        for node in ast.parse(module.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(str(module.relative_to(PACKAGE)))
    assert not {name: modules for name, modules in homes.items() if len(modules) > 1}


def test_tests_lie_as_the_package_does() -> None:
    tests = Path(__file__).parent
    folders = {path.parent.relative_to(tests) for path in tests.rglob("test_*.py")}
    beside = {Path(), Path("launch"), Path("fuzz")}
    unknown = {str(folder) for folder in folders - beside if not (PACKAGE / folder).is_dir()}
    assert not unknown
