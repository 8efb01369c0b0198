"""What an installation must contain for ROS to find it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path
from xml.etree import ElementTree

import pytest
from package_imports import PACKAGE, imported_names
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import pag_ros

SOURCE = Path(__file__).parents[1]

PIPS_OWN = {"openvino", "tensorrt", "pycuda", "onnx", "google", "typing_extensions"}
"""Of optional backends, of what they bring, and of type checkers."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """This tree as a wheel, built without touching the network or the tree."""
    pytest.importorskip("setuptools", minversion="70.1")
    out = tmp_path_factory.mktemp("wheel")
    build = "import setuptools.build_meta as backend, sys; backend.build_wheel(sys.argv[1])"
    copy = out / "source"
    _copy_source(copy)
    subprocess.run(
        [sys.executable, "-c", build, str(out)], cwd=copy, check=True, capture_output=True
    )
    (file,) = out.glob("*.whl")
    return zipfile.ZipFile(file)


def test_ros_finds_the_package_its_launch_files_models_and_parameters(
    wheel: zipfile.ZipFile,
) -> None:
    names = {name.partition(".data/data/")[2] for name in wheel.namelist()}
    for file in (
        "share/ament_index/resource_index/packages/pag_ros",
        "share/pag_ros/package.xml",
        "share/pag_ros/launch/perception.launch.py",
        "share/pag_ros/launch/replay.launch.py",
        "share/pag_ros/config/perception.yaml",
        "share/pag_ros/config/profiles/cpu.yaml",
        "share/pag_ros/config/palettes/indoor.yaml",
        "share/pag_ros/config/rviz/perception.rviz",
        "share/pag_ros/engines/pag_lite0_indoor.onnx",
        "share/pag_ros/engines/pag_lite0_indoor.json",
        "lib/pag_ros/perception_node",
    ):
        assert file in names, file


def test_the_node_is_executable(wheel: zipfile.ZipFile) -> None:
    (node,) = (i for i in wheel.infolist() if i.filename.endswith("lib/pag_ros/perception_node"))
    assert node.external_attr >> 16 & 0o111 == 0o111


def test_every_module_and_data_file_is_installed(wheel: zipfile.ZipFile) -> None:
    left_out = {"__pycache__", "native"}
    files = {
        path.relative_to(SOURCE).as_posix()
        for path in (SOURCE / "pag_ros").rglob("*")
        if path.is_file() and not left_out & set(path.parts) and path.suffix != ".so"
    }
    assert files <= set(wheel.namelist())


def test_the_kernels_are_installed_compiled(wheel: zipfile.ZipFile) -> None:
    kernels = [name for name in wheel.namelist() if name.startswith("pag_ros/kernels/_native.")]
    assert sorted(Path(name).suffix for name in kernels) == [".pyi", ".so"]


def test_the_version_is_the_same_everywhere(wheel: zipfile.ZipFile) -> None:
    package = ElementTree.parse(SOURCE / "package.xml")
    assert package.findtext("version") == pag_ros.__version__
    assert f"pag_ros-{pag_ros.__version__}-" in str(wheel.filename)


def test_ros_brings_what_the_node_imports_and_nothing_that_only_reports_need() -> None:
    """But for what has no rosdep key: those are in `PIPS_OWN`."""
    rooms = ("budget", "image", "kernels", "runtime", "ros")
    modules = [path for room in rooms for path in (PACKAGE / room).rglob("*.py")]
    modules += PACKAGE.glob("*.py")
    imported = {name.partition(".")[0] for path in modules for name in imported_names(path)}
    foreign = imported - set(sys.stdlib_module_names) - {"pag_ros"} - PIPS_OWN
    names = {"cv2": "opencv", "PIL": "pil", "yaml": "yaml"}
    depends = ElementTree.parse(SOURCE / "package.xml").findall("exec_depend")
    keys = {each.text for each in depends}
    for module in foreign:
        assert {module, f"python3-{names.get(module, module)}"} & keys, module
    assert not keys & {f"python3-{name}" for name in ("scipy", "matplotlib", "jinja2", "h5py")}


def test_the_change_log_speaks_of_this_version_or_the_next() -> None:
    headings = re.findall(r"^(.+)\n-{3,}$", (SOURCE / "CHANGELOG.rst").read_text(), re.MULTILINE)
    assert headings[0] == "Forthcoming" or headings[0].startswith(pag_ros.__version__)


@pytest.mark.parametrize(("distro", "ubuntus_numpy"), [("humble", "1.21.5"), ("jazzy", "1.26.4")])
def test_constraints_leave_ros_its_numpy(distro: str, ubuntus_numpy: str) -> None:
    assert str(constraints(distro)["numpy"].specifier) == f"=={ubuntus_numpy}"


@pytest.mark.parametrize("distro", ["humble", "jazzy"])
def test_constraints_allow_everything_that_the_page_installs(
    wheel: zipfile.ZipFile, distro: str
) -> None:
    allowed = constraints(distro)
    for requirement in installed_on_a_robot(wheel):
        constraint = allowed[canonicalize_name(requirement.name)]
        bounds = {each.operator: Version(each.version) for each in constraint.specifier}
        assert bounds.keys() in ({"=="}, {">=", "<"}), f"{constraint} is open"
        oldest = bounds.get("==", bounds.get(">="))
        assert oldest is not None
        assert oldest in requirement.specifier, f"{constraint} is not {requirement}"


def test_the_page_installs_nothing_without_constraints() -> None:
    commands = pip_commands("docs/jetson.md")
    assert commands
    for command in commands:
        changes_numpy = "--no-deps" not in command
        assert changes_numpy == ("-c config/constraints/$ROS_DISTRO.txt " in command), command


def constraints(distro: str) -> dict[str, Requirement]:
    """By canonical name."""
    lines = (SOURCE / "config" / "constraints" / f"{distro}.txt").read_text().splitlines()
    found = [Requirement(text) for line in lines if (text := line.partition("#")[0].strip())]
    return {canonicalize_name(each.name): each for each in found}


def pip_commands(page: str) -> list[str]:
    """What a page of the documentation tells to type, in code of any kind."""
    text = (SOURCE / page).read_text()
    return re.findall(r"pip install ([^#`\n]+)", text)


def installed_on_a_robot(wheel: zipfile.ZipFile) -> Iterator[Requirement]:
    """What docs/jetson.md lays over ROS, as setup.py asks for it."""
    wanted = " ".join(pip_commands("docs/jetson.md")).split()
    assert {".", "'.[cpu]'", "'.[gpu]'", "pycuda", "onnx"} <= set(wanted)
    (file,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = message_from_bytes(wheel.read(file))
    for text in metadata.get_all("Requires-Dist", []):
        requirement = Requirement(text)
        extras = ("", "cpu", "gpu")
        if requirement.name in ("tensorrt", "triton"):
            continue  # They need no NumPy, and the driver decides on TensorRT.
        if requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in extras
        ):
            yield requirement


def test_the_executable_runs_with_the_python_beside_it(tmp_path: Path) -> None:
    """As in a virtual environment that nobody has activated."""
    node = tmp_path / "lib" / "pag_ros" / "perception_node"
    python = tmp_path / "bin" / "python3"
    for file in (node, python):
        file.parent.mkdir(parents=True)
    node.write_bytes((SOURCE / "scripts" / "perception_node").read_bytes())
    python.write_text('#!/bin/sh\necho "this one: $*"\n')
    for file in (node, python):
        file.chmod(0o755)
    said = subprocess.run(
        [node, "--ros-args"], capture_output=True, text=True, check=True, env={"PATH": os.defpath}
    )
    assert said.stdout == "this one: -m pag_ros.ros.main --ros-args\n"


def _copy_source(target: Path) -> None:
    left_out = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "out", "test")
    shutil.copytree(SOURCE, target, ignore=left_out)
