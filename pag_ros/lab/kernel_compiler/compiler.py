# mypy: disable-error-code="import-untyped,import-not-found"
"""Compile a program to PTX and machine code on any Linux machine, with or without a GPU.

Triton is imported when something is compiled; nothing else here needs it.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pag_ros.errors import BackendError
from pag_ros.kernels.gpu.programs import ConvSpec, Launch, SelectSpec, Spec, launch
from pag_ros.kernels.gpu.store import CompiledKernel
from pag_ros.kernels.gpu.tiles import chips_of
from pag_ros.lab.kernel_compiler.proxy_fence import lacks_fence

TARGETS = (80, 86, 87, 89, 90, 110, 120)
"""Compute capabilities times ten: A100, RTX 30, Orin, RTX 40, H100/H200, Thor, RTX 50."""
MAX_SHARED_BYTES = 48 * 1024
"""More would need an attribute of the kernel that TensorRT does not set."""
FENCED_TRITON = "3.7.1"
"""The first Triton that orders threads and the tensor cores of Hopper and Thor; 3.5.0 to 3.7.0 do
not."""

_MAX_REASON = 300
"""Characters of an error of Triton that are passed on."""
_MIN_PTX = {100: 86, 103: 88, 110: 90, 120: 87, 121: 88}
"""Capability -> the first PTX version (times ten) that knows it, where 8.4 does not."""
_TENSOR_CORE = re.compile(r"\b(mma\.sync|wgmma\.mma_async|tcgen05\.mma)\b")
_POINTERS = {"fp16": "*fp16", "fp32": "*fp32", "i32": "*i32"}


def compile_kernels(spec: Spec, capability: int) -> list[CompiledKernel]:
    """Compile a program for every size of chip on which it is launched differently.

    Raises:
        BackendError, ValueError: as `compile_kernel`.
    """
    kernels: list[CompiledKernel] = []
    launches: list[Launch] = []
    for multiprocessors in chips_of(capability):
        how = launch(spec, capability, multiprocessors)
        if how not in launches:
            launches.append(how)
            kernels.append(compile_kernel(spec, capability, multiprocessors=multiprocessors))
    return kernels


def compile_kernel(
    spec: Spec, capability: int, ptx_version: int = 84, multiprocessors: int | None = None
) -> CompiledKernel:
    """Compile one program for one chip.

    Args:
        capability: compute capability times ten, 87 for 8.7.
        ptx_version: times ten; drivers refuse PTX newer than themselves, 84 suits CUDA 12.4 and on.
            A capability that this version does not know yet gets the first that does.
        multiprocessors: of the chip; None is a large one of this capability.

    Raises:
        BackendError: Triton is missing, interprets, or fails; it has left out a fence without which
            the kernel is a data race; or the kernel breaks what TensorRT asks of it (no other
            arguments than the program's, no more than 48 KB shared memory).
        ValueError: the capability is too low.
    """
    size = multiprocessors or max(chips_of(capability))
    how = launch(spec, capability, size)
    triton = import_triton()
    source = _translate(triton, spec, how, capability, ptx_version)
    ptx = _strip_hidden_parameters(source.ptx, source.entry, spec)
    if lacks_fence(ptx):
        raise BackendError(
            f"Triton {triton.__version__} makes a data race of {spec.name} for {capability}: no "
            "fence.proxy.async between what threads write to shared memory and the tensor cores "
            f"that read it; use triton >= {FENCED_TRITON}"
        )
    if source.shared_bytes > MAX_SHARED_BYTES:
        raise BackendError(
            f"{spec.name} for {capability} needs {source.shared_bytes} bytes of shared memory, "
            f"more than {MAX_SHARED_BYTES}: give it a smaller tile"
        )
    cubin, report = _assemble(triton, ptx, capability)
    return CompiledKernel(
        name=spec.name,
        capability=capability,
        multiprocessors=size,
        ptx=ptx,
        cubin=cubin,
        grid=how.grid,
        threads=source.threads,
        shared_bytes=source.shared_bytes,
        registers=_number(r"Used (\d+) registers", report),
        spills=_number(r"(\d+) bytes spill stores", report)
        + _number(r"(\d+) bytes spill loads", report),
        tensor_core=_TENSOR_CORE.search(ptx) is not None,
    )


@dataclass(frozen=True)
class _Translation:
    """What Triton makes of a program."""

    ptx: str
    entry: str
    threads: int
    shared_bytes: int


def import_triton() -> Any:
    """The module triton.

    Raises:
        BackendError: it is missing, or told to interpret.
    """
    try:
        import triton
    except ImportError as error:
        raise BackendError(
            f"compiling GPU kernels needs Triton ({error}); pip install 'pag_ros[gpu]'"
        ) from error
    if triton.knobs.runtime.interpret:
        raise BackendError("TRITON_INTERPRET is set, so Triton cannot compile; unset it")
    return triton


def _translate(
    triton: Any, spec: Spec, how: Launch, capability: int, ptx_version: int
) -> _Translation:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    function = _function(spec)
    arguments = {tensor.name: _POINTERS[tensor.dtype] for tensor in (*spec.inputs, *spec.outputs)}
    names = list(function.arg_names)
    source = ASTSource(
        function,
        {name: arguments.get(name, "constexpr") for name in names},
        # A pointer that the program does not have is the constant None.
        {(i,): how.constants.get(name) for i, name in enumerate(names) if name not in arguments},
        {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if name in arguments},
    )
    options = {
        "num_warps": how.warps,
        "num_stages": how.stages,
        "ptx_version": max(ptx_version, _MIN_PTX.get(capability, 0)),
        "enable_fp_fusion": True,
    }
    with triton.knobs.compilation.scope():
        triton.knobs.compilation.disable_line_info = True  # It would put our paths into the PTX.
        try:
            made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        except Exception as error:  # Triton raises what its passes happen to raise.
            raise BackendError(
                f"Triton {triton.__version__} cannot compile {spec.name} for {capability}: "
                f"{_reason(error)}"
            ) from error
    meta = made.metadata
    if meta.global_scratch_size or meta.profile_scratch_size:
        raise BackendError(f"{spec.name} for {capability} needs scratch memory, which nobody gives")
    return _Translation(made.asm["ptx"], meta.name, meta.num_warps * 32, meta.shared)


def _reason(error: Exception) -> str:
    """What Triton or its assembler says, in a line; after that they print whole programs."""
    said = " ".join(str(error).partition("Repro command")[0].split())
    return f"{said[:_MAX_REASON]}..." if len(said) > _MAX_REASON else said


def _function(spec: Spec) -> Any:
    from pag_ros.lab.kernel_compiler import triton_conv, triton_select

    if isinstance(spec, ConvSpec):
        return triton_conv.conv_kernel
    if isinstance(spec, SelectSpec):
        return triton_select.select_kernel
    return triton_select.stamp_kernel


def _strip_hidden_parameters(ptx: str, entry: str, spec: Spec) -> str:
    """Take out the pointers that Triton appends for itself; name the entry point as the program.

    The pointers lead to scratch memory. Who launches the kernel does not know of them, so nothing
    may read them.
    """
    found = re.search(rf"\.entry {re.escape(entry)}\(([^)]*)\)", ptx)
    if found is None:
        raise BackendError(f"the PTX of {spec.name} has no entry point {entry}")
    parameters = [line.strip() for line in found[1].split(",")]
    expected = len(spec.inputs) + len(spec.outputs)
    kept, hidden = parameters[:expected], parameters[expected:]
    names = [parameter.split()[-1] for parameter in hidden]
    used = [name for name in names if len(re.findall(rf"\b{re.escape(name)}\b", ptx)) > 1]
    if len(kept) < expected or used:
        raise BackendError(
            f"the PTX of {spec.name} takes {len(parameters)} parameters where {expected} are given"
            + (f", and reads {', '.join(used)}" if used else "")
        )
    listed = "".join(f"\n\t{parameter}," for parameter in kept).rstrip(",") + "\n"
    ptx = ptx[: found.start(1)] + listed + ptx[found.end(1) :]
    return re.sub(rf"\b{re.escape(entry)}(?=\b|_param_)", spec.name, ptx)


def _assemble(triton: Any, ptx: str, capability: int) -> tuple[bytes, str]:
    """Machine code of the PTX and what the assembler reports."""
    target = re.search(r"^\.target (\w+)", ptx, re.MULTILINE)
    if target is None:
        raise BackendError("the PTX names no target")
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        source.write_text(ptx, encoding="utf-8")
        command = [_assembler(triton, capability), "-v", f"--gpu-name={target[1]}"]
        done = subprocess.run(
            [*command, str(source), "-o", str(result)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BackendError(f"ptxas refuses the PTX for {target[1]}: {done.stderr.strip()}")
        return result.read_bytes(), done.stderr


def _assembler(triton: Any, capability: int) -> str:
    """Triton brings two assemblers: one for GPUs before Hopper, one from there on."""
    tools = triton.knobs.nvidia
    tool = getattr(tools, "ptxas_blackwell", tools.ptxas) if capability >= 90 else tools.ptxas
    return str(tool.path)


def _number(pattern: str, report: str) -> int:
    found = re.search(pattern, report)
    if found is None:
        raise BackendError(f"ptxas reports nothing like {pattern!r}: {report.strip()}")
    return int(found[1])
