"""How the outputs of a frame were sent, for people."""

from __future__ import annotations

import pytest

from pag_ros.ros.publishing import Published


def test_the_slowest_output_is_named_with_its_size() -> None:
    published = Published({"depth/image": 0.01, "points": 0.412}, {"points": 66_400_000})
    assert published.slowest == "points (412 ms, 66.4 MB)"
    assert published.total_s == pytest.approx(0.422)
    assert Published({"depth/camera_info": 0.001}, {}).slowest == "depth/camera_info (1 ms)"
    assert Published({}, {}).slowest == "nothing"
