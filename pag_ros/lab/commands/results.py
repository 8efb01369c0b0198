"""Make the results page: tables of stored comparison runs, and plots beside it.

Writes --out and pictures/results_*.png beside it; the same runs always give the same page.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runs", type=Path, default=Path("docs/results"), help="folder of `pag_ros compare`"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("docs/results.md"), help="the page (docs/results.md)"
    )


def main(args: argparse.Namespace) -> int:
    from pag_ros.lab.results.page import write_page
    from pag_ros.lab.results.runs import load_runs

    runs = load_runs(args.runs)
    write_page(runs, args.out)
    print(f"{args.out}: {len(runs)} runs")
    return 0
