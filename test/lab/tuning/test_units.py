"""A unit that is taken for another is found out, and named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from pag_ros.errors import DatasetError
from pag_ros.lab.datasets.rooms import RoomPictures
from pag_ros.lab.tuning.units import depth_ratio, require_plausible
from pag_ros.runtime import open_session


@pytest.mark.parametrize(
    ("ratio", "unit"), [(5.2, "0.0002"), (11.0, "0.0001"), (0.001, "1"), (0.11, "0.01")]
)
def test_a_wrong_unit_is_named(ratio: float, unit: str) -> None:
    with pytest.raises(DatasetError, match=f"give --depth-scale {unit} ") as caught:
        require_plausible(ratio, None, ["my.bag"])
    assert str(caught.value).startswith("my.bag: ")


@pytest.mark.parametrize("ratio", [0.6, 1.0, 1.7, float("nan")])
def test_the_scale_of_a_place_is_no_unit(ratio: float) -> None:
    require_plausible(ratio, None, [])


def test_who_names_the_unit_is_believed() -> None:
    require_plausible(5.0, 0.001, [])


def test_the_ratio_is_recorded_over_seen(rooms: Path, tiny_model: Path) -> None:
    class Doubled:
        def __init__(self) -> None:
            self.rooms = RoomPictures([rooms])
            self.name, self.classes, self.protocol = "rooms", (), self.rooms.protocol

        def __len__(self) -> int:
            return len(self.rooms)

        def __getitem__(self, index: int):
            from dataclasses import replace

            sample = self.rooms[index]
            return replace(sample, depth=None if index == 0 else 2.0 * sample.depth)

    session = open_session(tiny_model, "cpu", 1)
    single = depth_ratio(RoomPictures([rooms]), session)
    assert np.isfinite(single)
    assert depth_ratio(Doubled(), session) == pytest.approx(2.0 * single, rel=0.2)
    session.close()
