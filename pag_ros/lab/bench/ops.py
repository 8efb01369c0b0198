"""Sparse convolutions and gated blocks beside dense ones, over densities and kinds of masks.

Every operation is timed as a chain of `CHAIN` with weights of their own, and the time divided: so
the layout changes of a runtime at its borders are shared as they are in a network, and weights come
from where they would come from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pag_ros import kernels
from pag_ros.kernels import Branch, Convolution, Workspace
from pag_ros.lab.bench import dense
from pag_ros.lab.bench.masks import Mask, listed_pixels
from pag_ros.lab.bench.timing import Progress, take_turns

if TYPE_CHECKING:
    from torch import nn

CHAIN = 4
DENSITIES = (0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 1.0)
Op = Literal["conv1x1", "conv3x3", "block"]
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """One operation at one shape.

    Attributes:
        op: one convolution with ReLU, or a residual block.
        block: "basic" (two 3x3), "bottleneck" (1x1, 3x3, 1x1 at a quarter of the channels) or
            "mbconv" (1x1, depthwise 3x3, 1x1 at six times the channels).
        gate_scope: what of a block runs at the listed pixels only, see `pag_ros.lab.model.blocks`.
    """

    op: Op
    channels: int
    height: int
    width: int
    block: Literal["basic", "bottleneck", "mbconv"] | None = None
    gate_scope: Literal["branch", "conv3x3"] | None = None

    def layers(self) -> list[Layer]:
        """The convolutions of one element of the chain."""
        c = self.channels
        if self.op != "block":
            return [Layer(c, c, 3 if self.op == "conv3x3" else 1)]
        if self.block == "basic":
            return [Layer(c, c, 3), Layer(c, c, 3)]
        if self.block == "bottleneck":
            return [Layer(c, c // 4, 1), Layer(c // 4, c // 4, 3), Layer(c // 4, c, 1)]
        return [
            Layer(c, 6 * c, 1, "relu6"),
            Layer(6 * c, 6 * c, 3, "relu6", depthwise=True),
            Layer(6 * c, c, 1, "none"),
        ]


@dataclass(frozen=True)
class Layer:
    """One convolution."""

    inputs: int
    outputs: int
    kernel: int
    activation: kernels.Activation = "relu"
    depthwise: bool = False

    def weights(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """Random weight [N,k,k,C] and bias [N] that keep the scale of what passes."""
        depth = 1 if self.depthwise else self.inputs
        shape = (self.outputs, self.kernel, self.kernel, depth)
        scale = (self.kernel * self.kernel * depth) ** -0.5
        weight = (scale * rng.normal(size=shape)).astype(np.float32)
        return weight, np.zeros(self.outputs, np.float32)


CASES = (
    Case("conv1x1", 256, 60, 80),
    Case("conv1x1", 512, 15, 20),
    Case("conv3x3", 64, 60, 80),
    Case("conv3x3", 128, 30, 40),
    Case("conv3x3", 128, 60, 80),
    Case("conv3x3", 256, 15, 20),
    Case("conv3x3", 512, 15, 20),
    Case("block", 64, 60, 80, "basic", "branch"),
    Case("block", 128, 30, 40, "basic", "branch"),
    Case("block", 128, 60, 80, "basic", "branch"),
    Case("block", 256, 15, 20, "basic", "branch"),
    Case("block", 512, 15, 20, "basic", "branch"),
    Case("block", 256, 60, 80, "bottleneck", "branch"),
    Case("block", 1024, 15, 20, "bottleneck", "branch"),
    Case("block", 1024, 15, 20, "bottleneck", "conv3x3"),
    Case("block", 40, 30, 40, "mbconv", "branch"),
    Case("block", 112, 15, 20, "mbconv", "branch"),
)
"""The shapes of the networks: the trunks of lite0 and lite2, ResNet-18 and ResNet-50, MBConv."""


def measure(
    case: Case,
    densities: Sequence[float],
    masks: Sequence[Mask],
    threads: int,
    rounds: int,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """The rows of one case, see docs/benchmarks.md."""
    chain = _Chain(case, threads)
    runs: dict[str, Callable[[], object]] = {}
    for mask in masks:
        for density in densities:
            index, count = listed_pixels(mask, case.height, case.width, density)
            runs[f"{mask} {density}"] = partial(chain.sparse, index, count)
    score = np.random.default_rng(0).normal(size=(case.height, case.width)).astype(np.float32)
    half, room = score.size // 2, np.empty(score.size, np.int32)
    runs["select"] = lambda: kernels.select(score, half, out=room)
    runs |= dense.dense_runs(chain.onnx(), chain.torch(), {"x": chain.picture()}, threads)
    seconds = take_turns(runs, rounds, progress)
    chain.workspace.close()

    dense_ms = {n: 1e3 * seconds[n] / CHAIN for n in dense.RUNTIMES if n in seconds}
    rows = []
    for mask in masks:
        for density in densities:
            sparse_ms = 1e3 * seconds[f"{mask} {density}"] / CHAIN
            rows.append(
                {
                    "op": case.op,
                    "block": case.block,
                    "gate_scope": case.gate_scope,
                    "channels": case.channels,
                    "height": case.height,
                    "width": case.width,
                    "density": density,
                    "mask": mask,
                    "sparse_ms": round(sparse_ms, 4),
                    "dense_ms": {name: round(value, 4) for name, value in dense_ms.items()},
                    "speedup": round(min(dense_ms.values()) / sparse_ms, 3) if dense_ms else None,
                    "select_ms": round(1e3 * seconds["select"], 4),
                }
            )
    return rows


class _Chain:
    """`CHAIN` times the operation of a case, for our kernels and for dense runtimes."""

    def __init__(self, case: Case, threads: int) -> None:
        rng = np.random.default_rng(0)
        self.case = case
        self.workspace = Workspace(threads)
        self.steps = [
            [(layer, *layer.weights(rng)) for layer in case.layers()] for _ in range(CHAIN)
        ]
        self._branches = [self._pack(step) for step in self.steps]
        shape = (case.height, case.width, case.channels)
        self._maps = [rng.random(shape, np.float32) for _ in range(2)]
        self._reduced = rng.random((*shape[:2], self.steps[0][0][0].outputs), np.float32)
        self._everywhere = np.arange(case.height * case.width, dtype=np.int32)

    def sparse(self, index: NDArray[np.int32], count: int) -> None:
        """Our kernels, at the listed pixels."""
        x, y = self._maps
        for branches in self._branches:
            if self.case.op != "block":
                # Pixels that are not listed stay what they are: no copy is part of the operation.
                branches[0](x, index, count, base=y, out=y, workspace=self.workspace)
                x, y = y, x
            elif self.case.gate_scope == "branch":
                branches[0](x, index, count, base=x, out=x, workspace=self.workspace)
            else:
                self._papers_block(branches, x, index, count)

    def _papers_block(
        self, branches: list[Branch], x: Array, index: NDArray[np.int32], count: int
    ) -> None:
        """Dense 1x1, 3x3 at the listed pixels over a copy of its input, dense 1x1."""
        reduce, middle, expand = branches
        everywhere, pixels, reduced = self._everywhere, len(self._everywhere), self._reduced
        reduce(x, everywhere, pixels, out=reduced, workspace=self.workspace)
        middle(reduced, index, count, base=reduced, out=reduced, workspace=self.workspace)
        expand(reduced, everywhere, pixels, base=x, out=x, workspace=self.workspace)

    def picture(self) -> Array:
        """[1,C,H,W], the input of the dense forms."""
        return np.ascontiguousarray(self._maps[0].transpose(2, 0, 1)[None])

    def onnx(self) -> bytes:
        """The chain as an ONNX file with standard operators."""
        from onnx import TensorProto, helper, numpy_helper

        nodes, weights, x = [], [], "x"
        for number, step in enumerate(self.steps):
            residual = x
            for depth, (layer, weight, bias) in enumerate(step):
                name = f"{number}.{depth}"
                weights += [
                    numpy_helper.from_array(
                        np.ascontiguousarray(weight.transpose(0, 3, 1, 2)), f"{name}.w"
                    ),
                    numpy_helper.from_array(bias, f"{name}.b"),
                ]
                inputs = [x, f"{name}.w", f"{name}.b"]
                groups = layer.outputs if layer.depthwise else 1
                pads = [layer.kernel // 2] * 4
                nodes.append(
                    helper.make_node("Conv", inputs, [f"{name}.y"], pads=pads, group=groups)
                )
                x = f"{name}.y"
                if self.case.op == "block" and depth == len(step) - 1:
                    nodes.append(helper.make_node("Add", [x, residual], [f"{name}.sum"]))
                    x = f"{name}.sum"
                if layer.activation == "relu":
                    nodes.append(helper.make_node("Relu", [x], [f"{name}.a"]))
                    x = f"{name}.a"
                elif layer.activation == "relu6":
                    nodes.append(helper.make_node("Clip", [x, "zero", "six"], [f"{name}.a"]))
                    x = f"{name}.a"
        weights.append(numpy_helper.from_array(np.float32(0), "zero"))
        weights.append(numpy_helper.from_array(np.float32(6), "six"))
        shape = [1, self.case.channels, self.case.height, self.case.width]
        graph = helper.make_graph(
            nodes,
            "chain",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(x, TensorProto.FLOAT, shape)],
            weights,
        )
        opsets = [helper.make_opsetid("", 18)]
        return bytes(
            helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
        )

    def torch(self) -> nn.Module | None:
        """The chain as a torch module, or None without torch."""
        if "torch" not in dense.installed():
            return None
        from pag_ros.lab.bench.torch_chain import TorchChain

        return TorchChain(self.steps, residual=self.case.op == "block")

    def _pack(self, step: list[tuple[Layer, Array, Array]]) -> list[Branch]:
        """Make one branch, or for scope "conv3x3" one for each convolution."""
        packed = [
            Convolution(w, b, depthwise=layer.depthwise, activation=layer.activation)
            for layer, w, b in step
        ]
        if self.case.gate_scope == "conv3x3":
            return [Branch([conv], residual=conv is packed[-1]) for conv in packed]
        return [Branch(packed, residual=self.case.op == "block")]
