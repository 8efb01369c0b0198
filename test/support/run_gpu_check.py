"""`gpu_check` with `fake_parts` as its parts, as a program: the arguments are its own."""

from __future__ import annotations

import sys

from pag_ros.lab.gpu_check import main as gpu_check

gpu_check.PARTS_MODULE = "fake_parts"
sys.exit(gpu_check.main(sys.argv[1:]))
