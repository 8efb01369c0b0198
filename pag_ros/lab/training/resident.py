"""Frames that are decoded once and stay on the training device, as bytes.

Decoding and augmenting frame by frame keeps a processor core busy for some ten milliseconds each;
a GPU trains a frame in less than one. It therefore draws its own batches (see `gpu_augment`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate, count, islice

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pag_ros.errors import ParameterError
from pag_ros.lab.training.gpu_augment import photograph, random_views, reframe
from pag_ros.lab.training.rooms import Rooms

LARGEST_FACTOR = 1.5
"""Frames are kept at most so much larger than they are trained on: a part of them is then sharp."""
_MILLIMETRES = 1000.0
_MAX_MILLIMETRES = 65535.0
_DECODED_TOGETHER = 32


class ResidentRooms:
    """All frames of `Rooms` on one device.

    Args:
        rooms: to train on; its size is that of the batches.
        device: where the frames stay; it needs 12 bytes a pixel.
        workers: processes that decode.

    Raises:
        ParameterError: the device has no room for them.
    """

    def __init__(self, rooms: Rooms, device: torch.device, workers: int) -> None:
        self.size = rooms.size
        self.flaws = rooms.flaws
        self.device = device
        self._ends = list(accumulate(rooms.lengths))
        starts = [0, *self._ends]
        self._stores = [
            _store(rooms, range(first, end), device, workers)
            for first, end in zip(starts, self._ends, strict=False)
        ]

    def batches(
        self, keys: Iterable[int], batch: int, seed: tuple[int, ...], start: int
    ) -> Iterator[dict[str, Tensor]]:
        """Augmented batches without end, each as `Rooms` describes an item.

        Args:
            keys: which frames, see `EndlessSampler`.
            batch: samples in each.
            seed: of the augmentation; batch i is a pure function of it, of i and of the keys.
            start: number of the first batch.
        """
        drawn = iter(keys)
        for number in count(start):
            frames = [key % self._ends[-1] for key in islice(drawn, batch)]
            entropy = np.random.SeedSequence((*seed, number)).generate_state(1)[0]
            yield self._batch(frames, torch.Generator(self.device).manual_seed(int(entropy)))

    def _batch(self, frames: list[int], generator: torch.Generator) -> dict[str, Tensor]:
        parts = []
        for number, store in enumerate(self._stores):
            first = self._ends[number - 1] if number else 0
            mine = [i - first for i in frames if bisect_right(self._ends, i) == number]
            if mine:
                chosen = torch.tensor(mine, device=self.device)
                frame = _opened({name: value[chosen] for name, value in store.items()})
                views = random_views(len(mine), generator)
                parts.append(reframe(frame, self.size, views))
        item = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        flawed = photograph(item["image"], self.flaws, generator)
        return {**item, "plain": item["image"], "image": flawed}


class _Frames(Dataset[dict[str, Tensor]]):
    """Some frames of `Rooms` at one size, as bytes."""

    def __init__(self, rooms: Rooms, indices: range, size: tuple[int, int]) -> None:
        self._rooms = rooms
        self._indices = indices
        self._size = size

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        return _stored(self._rooms.frame(self._indices[number], self._size))


def _store(rooms: Rooms, indices: range, device: torch.device, workers: int) -> dict[str, Tensor]:
    """Name -> [frames, ...] on the device, of one dataset."""
    size = _kept_size(rooms, indices[0])
    loader = DataLoader(
        _Frames(rooms, indices, size), batch_size=_DECODED_TOGETHER, num_workers=workers
    )
    store: dict[str, Tensor] = {}
    done = 0
    try:
        for part in loader:
            for name, value in part.items():
                if name not in store:
                    shape = (len(indices), *value.shape[1:])
                    store[name] = torch.empty(shape, dtype=value.dtype, device=device)
                store[name][done : done + len(value)] = value.to(device)
            done += _DECODED_TOGETHER
    except torch.OutOfMemoryError as error:
        raise ParameterError(
            f"resident: {device} has no room for {len(indices)} frames of {size[0]}x{size[1]}; "
            "train on fewer, or set it to false"
        ) from error
    return store


def _kept_size(rooms: Rooms, first: int) -> tuple[int, int]:
    """(width, height) to keep a dataset at, by the size of its first frame."""
    width, height = rooms.size
    factor = min(max(1.0, rooms.native_width(first) / width), LARGEST_FACTOR)
    return round(width * factor), round(height * factor)


def _stored(item: dict[str, Tensor]) -> dict[str, Tensor]:
    """An item in as few bytes as its files have; 0 stands for unknown depths and normals."""
    millimetres = (item["depth"].nan_to_num(0.0) * _MILLIMETRES).round().clamp(0, _MAX_MILLIMETRES)
    return {
        **item,
        # torch computes with signed words only
        "depth": millimetres.to(torch.int32).to(torch.int16),
        "normals": ((item["normals"] + 1.0) * 127.5).round().nan_to_num(0.0).to(torch.uint8),
        "labels": item["labels"].to(torch.uint8),
        "boundary": item["boundary"].to(torch.int8),
    }


def _opened(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `_stored` made small, in batches, all as float32."""
    millimetres = (stored["depth"].to(torch.int32) & 0xFFFF).float()
    normals = stored["normals"].float()
    unknown = (normals == 0.0).all(1, keepdim=True)
    opened = {name: value.float() for name, value in stored.items()}
    return {
        **opened,
        "depth": (millimetres / _MILLIMETRES).masked_fill(millimetres == 0.0, torch.nan),
        "normals": (normals / 127.5 - 1.0).masked_fill(unknown, torch.nan),
    }
