"""The C++ extension, see `native/module.cpp`; every argument is checked there."""

import numpy as np
from numpy.typing import NDArray

class Workspace:
    threads: int
    def __init__(self, threads: int) -> None: ...

class Layer:
    def __init__(
        self,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32],
        *,
        dilation: int = 1,
        by_map: bool = False,
        depthwise: bool = False,
        lower: float = ...,
        upper: float = ...,
    ) -> None: ...

class Computation: ...

class Branch(Computation):
    def __init__(
        self, layers: list[Layer], residual: bool = False, precision: str = "fp32"
    ) -> None: ...
    def run(
        self,
        x: NDArray[np.float32],
        index: NDArray[np.int32],
        count: int,
        base: NDArray[np.float32] | None,
        dilation_map: NDArray[np.int32] | None,
        out: NDArray[np.float32] | None,
        workspace: Workspace,
    ) -> NDArray[np.float32]: ...

class TrunkBlock:
    def __init__(
        self,
        gate: NDArray[np.float32],
        gate_bias: float,
        branch: Computation,
        predictor: Computation | None,
        dilations: list[int],
        projection: Computation | None,
    ) -> None: ...

class Trunk:
    def __init__(self, blocks: list[TrunkBlock]) -> None: ...
    def run(
        self,
        x: NDArray[np.float32],
        keep: NDArray[np.int32],
        plan: NDArray[np.float32],
        elapsed: float,
        index: list[NDArray[np.int32]],
        out: NDArray[np.float32],
        workspace: Workspace,
    ) -> tuple[list[int], list[float]]: ...

class QuantizedLayer:
    def __init__(
        self,
        weight: NDArray[np.int8],
        bias: NDArray[np.int32],
        scale: NDArray[np.float32],
        *,
        zero_point: int = 0,
        dilation: int = 1,
        by_map: bool = False,
        passed: NDArray[np.float32] | None = None,
        relu: bool = False,
    ) -> None: ...

class QuantizedBranch(Computation):
    def __init__(
        self,
        layers: list[QuantizedLayer],
        input_scale: NDArray[np.float32],
        residual: bool = False,
    ) -> None: ...
    def run(
        self,
        x: NDArray[np.float32],
        index: NDArray[np.int32],
        count: int,
        base: NDArray[np.float32] | None,
        dilation_map: NDArray[np.int32] | None,
        stream: NDArray[np.uint8] | None,
        out: NDArray[np.float32] | None,
        workspace: Workspace,
    ) -> NDArray[np.float32]: ...
    def quantize(self, x: NDArray[np.float32]) -> NDArray[np.uint8]: ...

def select(
    score: NDArray[np.float32], keep: int, out: NDArray[np.int32] | None
) -> NDArray[np.int32]: ...
def classify(
    logits: NDArray[np.float32],
    height: int,
    width: int,
    labels: NDArray[np.uint8] | None,
    confidence: NDArray[np.float32] | None,
    workspace: Workspace,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]: ...
def enlarge_geometry(
    maps: NDArray[np.float32],
    height: int,
    width: int,
    least: float,
    depth: NDArray[np.float32] | None,
    normals: NDArray[np.float32] | None,
    workspace: Workspace,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]: ...
def enlarge_normals(
    normals: NDArray[np.float32],
    height: int,
    width: int,
    least: float,
    out: NDArray[np.float32] | None,
    workspace: Workspace,
) -> NDArray[np.float32]: ...
def peak_flops(workspace: Workspace) -> float: ...
def instruction_sets() -> list[str]:
    """Names of the instruction sets that this processor has, the best first."""

def has_native_bf16() -> bool:
    """Whether the instruction set that is used now multiplies bfloat16 by itself."""

def chosen_instruction_set() -> str:
    """The one that is used now; ValueError if PAG_ROS_ISA names an unknown one."""
