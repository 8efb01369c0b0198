"""In the place of `pag_ros.lab.gpu_check.parts`: parts that do what FAKE_PARTS says.

That is a JSON object: part -> steps, each ["row", ROW], ["text", TEXT] without an end of line,
["sleep", SECONDS], ["exit", CODE], ["signal", NUMBER] to itself, or ["deaf"] to SIGTERM from there
on. Others give one row.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

from pag_ros.runtime.child_processes import end_with_parent

FACTS = {"facts": {"GPU": "none"}}
RIGHT = {"kernel": "pag_x", "case": "count 1", "error": 0.0, "ok": True}


def main(part: str, options: list[str]) -> None:
    assert options.pop(0) == "--end-with-parent"
    end_with_parent(0)
    default = [["row", FACTS if part == "machine" else {**RIGHT, "options": options}]]
    for name, *argument in json.loads(os.environ.get("FAKE_PARTS", "{}")).get(part, default):
        take(name, *argument)


def take(step: str, argument: Any = None) -> None:
    if step == "row":
        print(json.dumps(argument), flush=True)
    elif step == "text":
        print(argument, end="", flush=True)
    elif step == "sleep":
        time.sleep(argument)
    elif step == "exit":
        os._exit(argument)
    elif step == "signal":
        os.kill(os.getpid(), argument)
    else:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
