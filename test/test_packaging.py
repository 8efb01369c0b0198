"""What an installation must contain for ROS to find it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

import pag_ros

SOURCE = Path(__file__).parents[1]


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


def test_the_change_log_speaks_of_this_version_or_the_next() -> None:
    headings = re.findall(r"^(.+)\n-{3,}$", (SOURCE / "CHANGELOG.rst").read_text(), re.MULTILINE)
    assert headings[0] == "Forthcoming" or headings[0].startswith(pag_ros.__version__)


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
