"""Runs PTX on a CPU, in NumPy, and is stricter than any GPU: the code that ships, without a GPU.

program      text -> instructions
machine      blocks of threads that run side by side, branches, barriers
instructions what the scalar instructions compute
matrices     the tensor cores: ldmatrix, stmatrix, mma.sync
warpgroups   Hopper's: wgmma and its fences
memory       what addresses lead to, and whether accesses are ordered

All blocks of a launch take the same instruction at a time, as far as their branches agree; a warp
is never torn apart by anything but its own branches. Asynchronous copies arrive as late as they
may. It tells nothing of time.
"""

from ptx.machine import launch
from ptx.memory import Hazard, HazardError

__all__ = ["Hazard", "HazardError", "launch"]
