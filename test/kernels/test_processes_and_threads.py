"""Kernels beside other threads and in forked processes: no crash, no hang, correct results."""

from __future__ import annotations

import pytest
from python_process import run_python

OPERANDS = """
import os, signal, sys, threading, time
import numpy as np
from pag_ros.kernels import Branch, Convolution, Workspace, classify, peak_flops, select

rng = np.random.default_rng(0)
x = rng.random((60, 80, 64), np.float32)
weight = rng.normal(0, 0.03, (64, 3, 3, 64)).astype(np.float32)
layers = [Convolution(weight, np.zeros(64, np.float32), by_map=True)] * 2
branch = Branch(layers, residual=True)
index = select(x.mean(axis=2), 2000)
dilations = np.full(60 * 80, 2, np.int32)
workspace = Workspace(2)

def run(workspace):
    return branch(x, index, 2000, base=x, dilation_map=dilations, workspace=workspace)

expected = run(workspace)
"""
CHANGE = """

kept = changed.copy()

def change():
    while True:
        changed[:] = bad
        changed[:] = kept

threading.Thread(target=change, daemon=True).start()
until = time.monotonic() + 0.7
while time.monotonic() < until:
    try:
        run(workspace)
    except ValueError:
        pass
os._exit(0)
"""
CHILD = """
child = os.fork()
if child == 0:
    signal.alarm(50)  # nobody else would end a child that hangs
    {task}
    os._exit(0 if done else 1)
assert os.waitpid(child, 0)[1] == 0
assert np.array_equal(run(workspace), expected)
"""


@pytest.mark.parametrize(
    ("array", "wrong"),
    [("index", 2**30), ("index", -(2**30)), ("dilations", -(2**28)), ("dilations", 2**30)],
)
def test_arrays_that_another_thread_changes_during_a_call_do_no_harm(
    array: str, wrong: int
) -> None:
    finish(f"{OPERANDS}\nchanged, bad = {array}, {wrong}\n{CHANGE}")


@pytest.mark.parametrize(
    "task",
    [
        "done = np.array_equal(run(workspace), expected)",
        "workspace.close(); done = True",
        "done = peak_flops(workspace) > 0",
        "done = classify(x[:, :, :3].copy(), 96, 128, workspace=workspace)[0].shape == (96, 128)",
        "done = np.array_equal(run(Workspace(2)), expected)",
        "sys.exit()",  # destroys the workspace on the way out
    ],
)
def test_a_forked_process_may_use_and_close_what_it_inherits(task: str) -> None:
    finish(OPERANDS + CHILD.format(task=task))


def test_a_workspace_at_work_in_another_thread_during_the_fork_says_so() -> None:
    task = """
    for _ in range(20):
        child = os.fork()
        if child == 0:
            signal.alarm(50)
            try:
                done = np.array_equal(run(workspace), expected)
            except RuntimeError as error:
                done = "when this process was forked" in str(error)
            workspace.close()
            os._exit(0 if done else 1)
        assert os.waitpid(child, 0)[1] == 0
    os._exit(0)
    """
    work = "threading.Thread(target=lambda: [run(workspace) for _ in range(10**9)], daemon=True)"
    finish(f"{OPERANDS}\n{work}.start()\nif True:\n{task}")


def finish(program: str) -> None:
    """Run a program to its end, which it must reach in time."""
    done = run_python(program)
    assert done.returncode == 0, done.stderr[-2000:]
