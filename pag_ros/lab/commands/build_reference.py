"""Store what a model gives on a drawn picture, so that a new engine can be compared with it.

The numbers are the CPU session's. They go into one file beside the model, MODEL.reference.npz.
"""

from __future__ import annotations

import argparse

from pag_ros.cli.options import add_model_argument
from pag_ros.errors import ParameterError
from pag_ros.runtime import find_model, open_session
from pag_ros.runtime.tensorrt.self_check import write_reference


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_argument(parser)


def main(args: argparse.Namespace) -> int:
    model = find_model(args.model)
    session = open_session(model, "cpu")
    try:
        path = write_reference(session, model)
    except OSError as error:
        raise ParameterError(f"{model.parent}: cannot be written ({error.strerror})") from error
    finally:
        session.close()
    print(f"written: {path} ({path.stat().st_size / 1e3:.0f} kB)")
    return 0
