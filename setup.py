"""Installs pag_ros the same way under `pip install .` and `colcon build`.

All metadata is here and none in pyproject.toml: Ubuntu 22.04, hence ROS 2 Humble, has a setuptools
that does not read it there.

The CPU kernels are C++17 and need g++ or clang and pybind11. PAG_ROS_SANITIZE=1 in the environment
builds them with AddressSanitizer and UndefinedBehaviorSanitizer (see CONTRIBUTING.md).
"""

import os
import re
from pathlib import Path

from setuptools import Extension, find_packages, setup

NAME = "pag_ros"
# Resolved: `colcon build --symlink-install` runs a link to this file from its build folder.
HERE = Path(__file__).resolve().parent
SHARE = f"share/{NAME}"

EXTRAS = {
    "cpu": ["openvino>=2025.0,<2027"],
    "gpu": ["tensorrt>=10.14,<12", "pycuda>=2024.1,<2027", "triton>=3.7.1,<4", "onnx>=1.16,<2"],
    "eval": [
        # Together with what it unpacks by, so that there is a bound (evaluation/unpacking.py).
        "rosbags>=0.11.7,<0.12",
        "backports.zstd>=1,<2; python_version < '3.14'",
        "lz4>=4,<5",
        "matplotlib>=3.5,<4",
        "jinja2>=3.0,<4",
        "h5py>=3.6,<4",
        "scipy>=1.8,<2",
    ],
    "ros": [
        "ros-jazzy-rclpy>=7.1,<7.2",
        "ros-jazzy-rmw-fastrtps-cpp>=8.4,<8.5",
        "ros-jazzy-sensor-msgs>=5.3,<5.4",
        "ros-jazzy-std-msgs>=5.3,<5.4",
        "ros-jazzy-std-srvs>=5.3,<5.4",
        "ros-jazzy-diagnostic-msgs>=5.3,<5.4",
        "ros-jazzy-lifecycle-msgs>=2.0,<2.1",
    ],
    # NNCF is for `pag_ros quantize`, and makes the 8-bit networks that ours are compared with.
    "bench": ["onnxruntime>=1.20,<2", "onnx>=1.16,<2", "nncf>=2.14,<4", "matplotlib>=3.5,<4"],
    "train": [
        "torch>=2.4,<3",
        "safetensors>=0.4,<1",
        "onnx>=1.16,<2",
        "onnxscript>=0.5,<1",
        "embreex>=2.17.7,<5",
        "pillow>=10,<14",
        "h5py>=3.6,<4",
        "scipy>=1.8,<2",
    ],
    "cluster": ["distributed>=2024.8,<2027"],
    # Under NVIDIA's licence, for tests only: what TensorRT takes, seen without a GPU.
    "nvidia-check": [
        "tensorrt-cu13-bindings>=11.4,<11.5",
        "tensorrt-lean-cu13-libs>=11.4,<11.5",
        "tensorrt-rtx-cu13-bindings>=1.7,<1.8",
        "tensorrt-rtx-cu13-libs>=1.7,<1.8",
    ],
    "dev": [
        "pytest>=8,<10",
        "pytest-xdist>=3.6,<4",  # `make test` in two processes
        "hypothesis>=6.100,<7",
        "pybind11>=2.9,<4",  # The packaging test builds without the network.
        "ruff>=0.17,<0.18",
        "mypy>=2.4,<3",
        # Later stubs are written in Python 3.12, we check against 3.10.
        "numpy<2.5",
        "setuptools>=70.1",
        "onnx>=1.16,<2",
        "distributed>=2024.8,<2027",
        "triton>=3.4,<4; platform_system == 'Linux'",
    ],
}


def version() -> str:
    """`__version__` of the package, read without importing it."""
    text = (HERE / NAME / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise RuntimeError(f'{NAME}/__init__.py has no line __version__ = "..."')
    return found[1]


def tree(source: str, target: str) -> list[tuple[str, list[str]]]:
    """Every file under a source folder, for installation under `target` with the same layout."""
    folders: dict[str, list[str]] = {}
    for path in sorted((HERE / source).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            relative = path.relative_to(HERE)
            place = Path(target, *relative.parent.parts[len(Path(source).parts) :])
            folders.setdefault(place.as_posix(), []).append(relative.as_posix())
    return list(folders.items())


def kernels() -> Extension:
    """The C++ extension with the CPU kernels.

    Its instruction sets are chosen in the sources, file by file: what is built on one machine runs
    on every other of the same architecture.
    """
    folder = f"{NAME}/kernels/native"
    flags = ["-std=c++17", "-O3", "-fvisibility=hidden", "-Wall", "-Wextra", "-pthread"]
    if os.environ.get("PAG_ROS_SANITIZE"):
        flags += ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    try:
        import pybind11

        includes = [pybind11.get_include()]
    except ImportError:
        includes = []  # Debian's and Ubuntu's pybind11-dev lies where the compiler looks anyway.
    return Extension(
        f"{NAME}.kernels._native",
        sorted(path.relative_to(HERE).as_posix() for path in (HERE / folder).glob("*.cpp")),
        depends=sorted(path.relative_to(HERE).as_posix() for path in (HERE / folder).glob("*.hpp")),
        include_dirs=includes,
        extra_compile_args=flags,
        extra_link_args=[flag for flag in flags if flag.startswith(("-fsanitize", "-pthread"))],
        language="c++",
    )


setup(
    name=NAME,
    version=version(),
    description="Depth, surface normals and segmentation before a deadline, for ROS 2",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    maintainer="pag_ros maintainers",
    maintainer_email="pag_ros@example.org",
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    ext_modules=[kernels()],
    package_data={
        NAME: ["*/*.xml", "*/*.j2", "*/*/*.j2", "*/*.css", "*/*.json", "*/*.yaml", "*/*.pyi"]
    },
    install_requires=[
        "filelock>=3.6,<5",
        "numpy>=1.21,<3",
        "opencv-python-headless>=4.5.4,<6",
        "pillow>=9.0,<14",
        "platformdirs>=2.5,<5",
        "PyYAML>=5.4,<7",
        "tqdm>=4.57,<5",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": [f"{NAME} = {NAME}.cli:main"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (SHARE, ["package.xml"]),
        # Not an entry point: pip would put that into bin/, where `ros2 run` does not look.
        (f"lib/{NAME}", ["scripts/perception_node"]),
        *tree("launch", f"{SHARE}/launch"),
        *tree("config", f"{SHARE}/config"),
        *tree("engines", f"{SHARE}/engines"),
    ],
    zip_safe=False,
)
