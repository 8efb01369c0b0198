"""What the GPU kernels cost by their machine code; needs Triton, but no GPU."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pag_ros.cli.options import add_json, add_model_argument, write_json
from pag_ros.errors import ParameterError
from pag_ros.runtime.models import find_model

if TYPE_CHECKING:
    from pag_ros.lab.bench.kernel_costs import Chip, Kernels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_argument(parser)
    parser.add_argument("--chips", nargs="+", metavar="NAME", help="what has NAME in its name")
    add_json(parser)


def main(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from pag_ros.lab.bench import kernel_costs

    model, chips = find_model(args.model), _chosen(args.chips)
    result: dict[str, list[dict[str, Any]]] = {"layers": [], "blocks": []}
    programs, stored, compiled = _programs(model), _stored(model), _compiled()
    with tqdm(chips, unit="chip", disable=None, file=sys.stderr) as bar:
        for chip in bar:
            result["layers"] += kernel_costs.layer_rows(programs, chip, stored)
            result["blocks"] += kernel_costs.block_rows(chip, compiled)
    if write_json(result, args.json):
        return 0
    print(layers_table(result["layers"]))
    print()
    print(blocks_table(result["blocks"]))
    return 0


def layers_table(rows: Sequence[dict[str, Any]]) -> str:
    """One line a convolution and chip."""
    from pag_ros.lab.bench.text import markdown

    header = ["kernel", "chip", "tile", "instructions / 16", "registers", "fit", "programs, waves"]
    table = [[*header[:-1], f"{header[-1]} at d = {_listed(rows[0]['waves'])}"]]
    for row in rows:
        counts = zip(row["programs"].values(), row["waves"].values(), strict=True)
        mark = "*" if row["is_unrolled"] else ""
        instructions = f"{row['instructions']:.0f}{mark}"
        numbers = [instructions, str(row["registers"]), str(row["resident"])]
        spread = ", ".join(f"{programs} in {waves}" for programs, waves in counts)
        table.append([row["kernel"], row["chip"], row["tile"], *numbers, spread])
    return markdown(table) + "\n\n*: no loop, so the whole kernel is counted."


def blocks_table(rows: Sequence[dict[str, Any]]) -> str:
    """One line a block and chip: microseconds, and how often the dense ones' time ours is."""
    from pag_ros.lab.bench.text import markdown

    densities = list(rows[0]["ours_us"])
    header = ["chip", "block", "dense fp16 us", "dense int8 us", "Select us"]
    ours = [f"ours d={density:g} us" for density in densities]
    table = [[*header, *ours, "x fp16 at .5", "x int8 at .5"]]
    for row in rows:
        times = [row["dense_fp16_us"], row["dense_int8_us"], row["select_us"]]
        times += row["ours_us"].values()
        half = row["ours_us"][0.5]
        gains = [row["dense_fp16_us"] / half, row["dense_int8_us"] / half]
        block = f"{row['channels']} @ {row['height']}x{row['width']}"
        cells = [*(f"{us:.0f}" for us in times), *(f"{gain:.2f}" for gain in gains)]
        table.append([row["chip"], block, *cells])
    return markdown(table)


def _listed(numbers: Any) -> str:
    return ", ".join(f"{number:g}" for number in numbers)


def _chosen(wanted: Sequence[str] | None) -> list[Chip]:
    from pag_ros.lab.bench.kernel_costs import CHIPS

    chosen = [chip for chip in CHIPS if not wanted or any(name in chip.name for name in wanted)]
    if not chosen:
        names = "; ".join(chip.name for chip in CHIPS)
        raise ParameterError(f"--chips {' '.join(wanted or [])}: there are {names}")
    return chosen


def _programs(model: Path) -> Sequence[Any]:
    from pag_ros.runtime.tensorrt.graph import engine_graph

    return engine_graph(model).specs


def _stored(model: Path) -> Kernels:
    """The kernels that lie beside the model: the code that a robot gets."""
    from pag_ros.kernels.gpu.store import kernels_path, load_kernels

    def kernel(spec: Any, chip: Chip) -> Any:
        found = load_kernels(kernels_path(model), [spec], chip.capability, chip.multiprocessors)
        return found[spec.name]

    return kernel


def _compiled() -> Kernels:
    """The kernel that would lie beside a model for a chip, compiled once."""
    from pag_ros.kernels.gpu.tiles import chips_of, nearest_chip
    from pag_ros.lab.kernel_compiler.compiler import compile_kernel

    @cache
    def compiled(spec: Any, capability: int, size: int) -> Any:
        return compile_kernel(spec, capability, multiprocessors=size)

    def kernel(spec: Any, chip: Chip) -> Any:
        size = nearest_chip(chips_of(chip.capability), chip.multiprocessors)
        return compiled(spec, chip.capability, size)

    return kernel
