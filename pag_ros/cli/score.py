"""Score a model on rendered rooms at several budgets.

Prints a table; --record writes the main scores into the model's manifest.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

BUDGETS = (1.0, 0.7, 0.5, 0.3)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset", type=Path, nargs="+", required=True, help="folders of `pag_ros data render`"
    )
    parser.add_argument("--model", default="pag_lite0_indoor", help="name, or path of the .onnx")
    parser.add_argument("--device", default="auto", help="auto, cpu or tensorrt (default: auto)")
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS, metavar="B")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N frames")
    parser.add_argument("--json", metavar="FILE", help="write the numbers here; - is stdout")
    parser.add_argument("--record", action="store_true", help="keep them in the manifest")


def main(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from pag_ros.evaluation.datasets import score_rooms, with_scores
    from pag_ros.evaluation.results import write_text
    from pag_ros.evaluation.rooms import read_index
    from pag_ros.manifest import save_manifest
    from pag_ros.runtime import find_model, open_session

    model = find_model(args.model)
    frames = [frame for folder in args.dataset for frame in read_index(folder)][: args.limit]
    session = open_session(model, args.device)
    try:
        with tqdm(total=len(frames), unit="frame", disable=None, file=sys.stderr) as bar:
            scores = score_rooms(frames, session, args.budgets, bar.update)
    finally:
        session.close()
    if args.record:
        save_manifest(with_scores(session.manifest, scores), model)
    text = json.dumps({f"{budget:.2f}": tasks for budget, tasks in scores.items()}, indent=2)
    if args.json == "-":
        print(text)
        return 0
    if args.json:
        write_text(Path(args.json), text + "\n")
    for budget, row in with_scores(session.manifest, scores).scores.items():
        print(
            f"budget {budget}: " + ", ".join(f"{name} {value:.3f}" for name, value in row.items())
        )
    return 0
