"""The perception node as a child process that never outlives this one's work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from pag_ros.errors import NodeError

STOP_SIGNALS = ((signal.SIGTERM, 8.0), (signal.SIGKILL, 3.0))
"""Signals that end the node, ever less politely, and the seconds to wait after each.

Not SIGINT: what a shell has started in the background ignores it, and so would the node.
"""


class NodeProcess:
    """Starts the node on entry, stops it on exit, whatever happens between.

    Attributes:
        began: `time.monotonic()` at its start.
    """

    def __init__(
        self,
        namespace: str,
        parameters: Mapping[str, object],
        params_file: Path | None,
        log: Path,
    ) -> None:
        """Prepare the command line.

        Args:
            namespace: of the node; its /diagnostics go there too, apart from other nodes'.
            parameters: name -> value; they win over those of the file.
            params_file: ROS parameter YAML, or None.
            log: file for what the node prints.
        """
        self.began = 0.0
        self._log = log
        self._command = [sys.executable, "-m", "pag_ros.ros.main", "--ros-args"]
        self._command += ["-r", f"__ns:={namespace}"]
        self._command += ["-r", f"/diagnostics:={namespace}/diagnostics"]
        if params_file is not None:
            self._command += ["--params-file", str(params_file)]
        for name, value in parameters.items():
            self._command += ["-p", f"{name}:={value}"]
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None

    def __enter__(self) -> NodeProcess:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._output = self._log.open("wb")  # not by `pag_ros.writing`: the node writes as it runs
        self.began = time.monotonic()
        # A process group of its own: Ctrl-C comes to us alone, and we end the node in order. Not a
        # session of its own: Linux shares CPU time between sessions first ("autogroup"), so that
        # niceness would count for nothing between the node and a load that we start beside it.
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            preexec_fn=os.setpgrp,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        assert self._output is not None
        for number, seconds in STOP_SIGNALS:
            if self._process.poll() is not None:
                break
            self._process.send_signal(number)
            self.wait(seconds)
        self._output.close()

    def wait(self, seconds: float) -> None:
        """Wait until the node has ended by itself, or for so long."""
        with suppress(subprocess.TimeoutExpired):
            if self._process is not None:
                self._process.wait(seconds)

    def require_running(self) -> None:
        """Check that the node is still there.

        Raises:
            NodeError: it has ended; the message has its last words.
        """
        if self._process is not None and self._process.poll() is not None:
            code = self._process.returncode
            raise NodeError(f"the node ended with exit code {code}: {self.last_words()}")

    def last_words(self) -> str:
        """The last line the node printed that is an error, or just the last, and where all are."""
        text = self._log.read_text(encoding="utf-8", errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        errors = [line for line in lines if "[ERROR]" in line or "[FATAL]" in line]
        words = (errors or lines or ["it printed nothing"])[-1]
        return f"{words[:300]} (all of it: {self._log})"
