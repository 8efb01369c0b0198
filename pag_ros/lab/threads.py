"""How torch's threads wait for one another; to be said before torch is imported."""

from __future__ import annotations

import os


def wait_passively() -> None:
    """Let threads that wait sleep instead of spin, unless the user has said otherwise.

    OpenMP's threads spin for a while, which is best on a machine of one's own. Beside any other
    program that computes, each waits for one that has no core: a training step then took up to
    twenty times as long, and two seconds instead of three to twenty where they sleep. On an idle
    machine both take the same time.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
