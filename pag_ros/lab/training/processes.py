"""Several training processes, one for each GPU, as `torchrun` starts them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import Sampler

from pag_ros.errors import ParameterError


@dataclass(frozen=True)
class Processes:
    """This process among its kind.

    Attributes:
        rank: 0 for the one that writes.
        count: of processes.
        device: the one that this process computes on.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def writes(self) -> bool:
        return self.rank == 0

    def share_of(self, batch: int) -> int:
        """Samples of a batch that fall to each process.

        Raises:
            ParameterError: they cannot be shared evenly.
        """
        if batch % self.count:
            raise ParameterError(f"batch {batch} cannot be shared by {self.count} processes")
        return batch // self.count

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            dist.barrier()

    def average_statistics(self, network: nn.Module) -> None:
        """Give every process the mean of all processes' normalisation statistics."""
        if self.count > 1:
            for part in _statistics(network):
                dist.all_reduce(part)
                part /= self.count

    def copy_statistics(self, network: nn.Module) -> None:
        """Give every process those of the one that writes."""
        if self.count > 1:
            for part in _statistics(network):
                dist.broadcast(part, 0)


def current_processes() -> Processes:
    """This process: alone, or in the group that `process_group` has joined."""
    together = dist.is_available() and dist.is_initialized()
    rank, count = (dist.get_rank(), dist.get_world_size()) if together else (0, 1)
    if not torch.cuda.is_available():
        return Processes(rank, count, torch.device("cpu"))
    local = int(os.environ.get("LOCAL_RANK", "0")) if together else 0
    return Processes(rank, count, torch.device("cuda", local))


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Join the other processes where `torchrun` has started this one; alone, do nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


class ShardedSampler(Sampler[int]):
    """Every `count`-th key of another sampler, from the `rank`-th on."""

    def __init__(self, keys: Iterable[int], rank: int, count: int) -> None:
        self.keys = keys
        self.rank = rank
        self.count = count

    def __iter__(self) -> Iterator[int]:
        return islice(iter(self.keys), self.rank, None, self.count)


def _statistics(network: nn.Module) -> list[Tensor]:
    return [buffer for buffer in network.buffers() if buffer.is_floating_point()]
