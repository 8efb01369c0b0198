"""Two processes on this machine train one network; each sample goes to one of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from pag_ros.errors import ParameterError  # noqa: E402
from pag_ros.lab.training.processes import Processes, ShardedSampler  # noqa: E402

SCRIPT = """
import sys
from pathlib import Path
import torch
from pag_ros.lab.model import NetworkConfig
from pag_ros.lab.training.processes import process_group
from pag_ros.lab.training.trainer import Phase, TrainConfig, Trainer

torch.set_num_threads(1)
rooms, out = Path(sys.argv[1]), Path(sys.argv[2])
network = NetworkConfig(blocks=2, channels=16, classes=2, heads=("depth", "segmentation"))
phases = (Phase((64, 48), 2, 2, 2e-3, 1e-3, 0.0), Phase((64, 48), 4, 2, 2e-3, 1e-3, 1.0))
config = TrainConfig(network, phases, frozen_blocks=0, sandwich=True, workers=0, recalibrate=1)
with process_group():
    trainer = Trainer(config, [rooms], [rooms], out, pretrained=None)
    average = trainer.run()
    states = {"network": trainer.network.state_dict(), "average": average.state_dict()}
    torch.save(states, out / f"rank{trainer.processes.rank}.pt")
"""


def test_both_processes_end_with_equal_weights_and_one_log(rooms: Path, tmp_path: Path) -> None:
    script, out = tmp_path / "script.py", tmp_path / "run"
    script.write_text(SCRIPT)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    result = subprocess.run(
        [sys.executable, *launch, str(script), str(rooms), str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    first, second = (torch.load(out / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    for kept in ("network", "average"):
        for name, value in first[kept].items():
            assert torch.equal(value, second[kept][name]), (kept, name)
    log = [json.loads(line) for line in (out / "log.jsonl").open()]
    assert [row["iteration"] for row in log if "train" in row] == [2, 4]
    assert (out / "network.safetensors").is_file()


def test_the_processes_share_the_keys_between_them() -> None:
    shares = [list(islice(ShardedSampler(range(100), rank, 3), 4)) for rank in range(3)]
    assert sorted(key for share in shares for key in share) == list(range(12))


def test_a_batch_must_be_shared_evenly() -> None:
    processes = Processes(0, 3, torch.device("cpu"))
    assert processes.share_of(6) == 2
    with pytest.raises(ParameterError, match="batch 4 cannot be shared by 3 processes"):
        processes.share_of(4)
