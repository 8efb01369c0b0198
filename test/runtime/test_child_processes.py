"""Processes that share a command's work do not answer Ctrl-C on their own."""

from __future__ import annotations

import subprocess
import sys


def test_a_process_started_within_never_sees_an_interrupt() -> None:
    # In a process of its own, where no helper of multiprocessing runs yet.
    code = """
import multiprocessing, os, signal, time
from pag_ros.runtime.child_processes import interrupts_held
context = multiprocessing.get_context("spawn")
with interrupts_held():
    process = context.Process(target=time.sleep, args=(1.0,))
    process.start()
os.kill(process.pid, signal.SIGINT)
process.join()
assert process.exitcode == 0, process.exitcode
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""
    guarded = f"if __name__ == '__main__':\n{code.replace(chr(10), chr(10) + '    ')}"
    ended = subprocess.run(
        [sys.executable, "-c", guarded], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "interrupted\n", "")
