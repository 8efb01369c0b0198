"""The layers of the architecture: who may import whom, and where the heavy packages may appear."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pag_ros"

PLAIN = {"errors", "checks", "reading"}
"""Single modules below all layers."""

BELOW = {
    "errors": set(),
    "checks": set(),
    "reading": {"errors"},
    "manifest": PLAIN,
    "kernels": {*PLAIN, "manifest"},
    "budget": {"kernels", *PLAIN, "manifest"},
    "runtime": {"budget", "kernels", *PLAIN, "manifest"},
    "evaluation": {"runtime", "budget", "kernels", *PLAIN, "manifest"},
    "ros": {"evaluation", "runtime", "budget", "kernels", *PLAIN, "manifest"},
    "model": {*PLAIN, "manifest"},
    "training": {"model", "runtime", "evaluation", "kernels", *PLAIN, "manifest"},
    "export": {"training", "model", "runtime", "kernels", *PLAIN, "manifest"},
    "bench": {"export", "model", "evaluation", "runtime", "kernels", *PLAIN, "manifest"},
}
"""Layer -> the layers it may import besides itself; the command line, on top, may import all."""

HOMES = {
    "torch": {"model", "training", "export", "bench"},
    "onnxruntime": {"bench"},
    "rclpy": {"ros"},
    "sensor_msgs": {"ros"},
    "diagnostic_msgs": {"ros"},
    "rosbags": {"evaluation", "cli"},
    "matplotlib": {"evaluation", "bench", "cli"},
    "openvino": {"runtime", "bench"},
    "tensorrt": {"runtime"},
    "pycuda": {"runtime"},
    "triton": {"kernels"},
    "embreex": {"training"},
    "distributed": {"training"},
}
"""Package -> the only layers that import it."""

MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_only_from_below(module: Path) -> None:
    layer = _layer(module)
    if layer in BELOW:
        used = {name.split(".")[1] for name in _imports(module) if name.startswith("pag_ros.")}
        assert used <= BELOW[layer] | {layer, "__version__"}
    for package, homes in HOMES.items():
        if layer not in homes:
            assert package not in {name.split(".")[0] for name in _imports(module)}


def test_every_layer_is_known() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == (set(BELOW) | {"cli"}) - {*PLAIN, "manifest"}


def _layer(module: Path) -> str:
    return module.relative_to(PACKAGE).with_suffix("").parts[0]


def _imports(module: Path) -> Iterator[str]:
    """Full names of all that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
