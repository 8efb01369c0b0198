"""What a kernel's machine code says of its main loop, without running it.

NVIDIA's disassembler comes with Triton. A loop is what lies between a label and the branch back to
it; the main one is the shortest that has tensor-core instructions. An assembler that unrolls it
completely leaves no loop: then the whole kernel stands for it.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pag_ros.errors import BackendError
from pag_ros.kernels.gpu.store import CompiledKernel
from pag_ros.lab.kernel_compiler.compiler import import_triton

_LABEL = re.compile(r"^(\.L_x_\d+):")
_INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)(.*);")
_TARGET = re.compile(r"\.L_x_\d+")
_TENSOR_CORE = ("HMMA", "HGMMA", "UTCHMMA")
"""mma.sync of a warp, wgmma of four warps (Hopper), tcgen05 of a program (Thor)."""


@dataclass(frozen=True)
class MainLoop:
    """The instructions of one round of a kernel's main loop, as a warp is given them.

    Attributes:
        instructions: all of them.
        products: those for the tensor cores.
        kind: how these are called: "HMMA", "HGMMA" or "UTCHMMA"; empty if there are none.
        is_unrolled: there is no loop, so this is the whole kernel.
    """

    instructions: int
    products: int
    kind: str
    is_unrolled: bool


@dataclass(frozen=True)
class _Instruction:
    name: str
    operands: str

    @property
    def kind(self) -> str:
        return self.name.partition(".")[0]

    @property
    def is_product(self) -> bool:
        return self.kind in _TENSOR_CORE


def main_loop(kernel: CompiledKernel) -> MainLoop:
    """The main loop of a kernel's machine code.

    Raises:
        BackendError: it has none, or Triton or its disassembler is missing or fails.
    """
    return read_listing(_disassembled(kernel))


def read_listing(text: str) -> MainLoop:
    """The main loop of a disassembler's listing."""
    code, labels = _parse(text)
    whole = MainLoop(len(code), _count_products(code), _kind_of(code), is_unrolled=True)
    rounds = [code[first : last + 1] for first, last in _loops(code, labels)]
    with_products = [each for each in rounds if _count_products(each)]
    if not with_products:
        return whole
    shortest = min(with_products, key=len)
    return MainLoop(len(shortest), _count_products(shortest), _kind_of(shortest), is_unrolled=False)


def _disassembled(kernel: CompiledKernel) -> str:
    if not kernel.cubin:
        raise BackendError(f"{kernel.name}: no machine code for {kernel.capability}, only PTX")
    tool = str(import_triton().knobs.nvidia.nvdisasm.path)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(kernel.cubin)
        done = subprocess.run([tool, "-c", file.name], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BackendError(f"{tool} cannot read {kernel.name}: {done.stderr.strip()}")
    return done.stdout


def _parse(text: str) -> tuple[list[_Instruction], dict[str, int]]:
    """The instructions, and label -> the number of the one after it."""
    code: list[_Instruction] = []
    labels: dict[str, int] = {}
    for line in text.splitlines():
        if label := _LABEL.match(line.strip()):
            labels[label[1]] = len(code)
        elif found := _INSTRUCTION.search(line):
            code.append(_Instruction(found[1], found[2]))
    return code, labels


def _loops(code: Sequence[_Instruction], labels: dict[str, int]) -> list[tuple[int, int]]:
    """(first, last) instruction of everything that a branch leads back over."""
    found = []
    for place, instruction in enumerate(code):
        if instruction.kind != "BRA":
            continue
        target = _TARGET.search(instruction.operands)
        first = labels.get(target[0]) if target else None
        if first is not None and first <= place:
            found.append((first, place))
    return found


def _count_products(code: Sequence[_Instruction]) -> int:
    return sum(instruction.is_product for instruction in code)


def _kind_of(code: Sequence[_Instruction]) -> str:
    return next((each.kind for each in code if each.is_product), "")
