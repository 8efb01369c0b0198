"""Build the TensorRT engine of a model for this machine's GPU, and check its numbers.

The engine goes to the user's cache ($XDG_CACHE_HOME/pag_ros, else ~/.cache/pag_ros), where the node
finds it at its next start. A sound engine that is there already is only checked.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from tqdm import tqdm

from pag_ros.cli.options import add_json, add_model_argument, write_json
from pag_ros.errors import BackendError
from pag_ros.runtime.models import find_model
from pag_ros.runtime.tensorrt.builder import MIB, PRECISIONS
from pag_ros.runtime.tensorrt.engine_cache import BuiltEngine
from pag_ros.runtime.tensorrt.opening import open_tensorrt
from pag_ros.runtime.tensorrt.options import EngineOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_argument(parser)
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0])
    parser.add_argument("--force", action="store_true", help="build it even if there is one")
    add_json(parser)


def main(args: argparse.Namespace) -> int:
    model = find_model(args.model)
    with tqdm(total=100, unit="%", disable=None, file=sys.stderr, leave=False) as bar:

        def report(share: float, left_s: float | None, phase: str) -> None:
            left = "" if left_s is None else f", about {left_s:.0f} s left"
            bar.set_postfix_str(phase + left, refresh=False)
            bar.update(100.0 * share - bar.n)

        options = EngineOptions(force=args.force, say=_say, report=report)
        session, engine = open_tensorrt(model, options, args.precision)
    backend = session.backend
    session.close()
    if engine.path is None:
        raise BackendError("the engine was built, but could not be stored; see above")
    summary = {"backend": backend, **summary_of(engine)}
    if not write_json(summary, args.json):
        print(text_of(summary))
    return 0


def summary_of(engine: BuiltEngine) -> dict[str, Any]:
    """What is told of an engine: where it is, whether it was just built, checked; its summary."""
    return {
        "path": str(engine.path),
        "built": bool(engine.reason),
        "reason": engine.reason,
        "checked": engine.checked,
        **engine.summary,
    }


def text_of(summary: dict[str, Any]) -> str:
    """The same for people."""
    precisions = summary.get("precisions") or {}
    layers = ", ".join(f"{count} {name}" for name, count in precisions.items()) or "not told"
    plugins = summary.get("plugins") or []
    seconds = f"built in {summary.get('build_seconds', 0.0):.0f} s"
    lines = [
        f"engine: {summary['path']} ({seconds if summary['built'] else 'was there'})",
        f"runs on: {summary['backend']}",
        f"numbers: {'those of the model' if summary['checked'] else 'NOT checked'}",
        f"layers by the type of what they give: {layers}",
        f"our kernels in it: {len(plugins) if layers != 'not told' else 'not told'}",
        f"size: {summary.get('engine_bytes', 0) / MIB:.0f} MiB, works in "
        f"{summary.get('device_bytes', 0) / MIB:.0f} MiB of GPU memory",
    ]
    return "\n".join(lines)


def _say(sentence: str) -> None:
    tqdm.write(f"pag_ros: {sentence}", file=sys.stderr)
