"""Sessions leave the process able to handle signals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import faulthandler, os, signal, sys
from pathlib import Path
from pag_ros.runtime import open_session

faulthandler.enable()
seen = []
signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
first = open_session(Path(sys.argv[1]), "cpu", 1)
second = open_session(Path(sys.argv[1]), "cpu", 1)
first.close()
second.close()
del first, second
os.kill(os.getpid(), signal.SIGUSR1)
print("seen", len(seen))
"""


def test_a_signal_after_two_sessions_have_ended_reaches_its_handler(tiny_model: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tiny_model)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr[-500:]
    assert result.stdout.strip() == "seen 1"
