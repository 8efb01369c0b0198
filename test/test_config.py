"""The files in config/ for other programs speak of what the node really publishes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pag_ros.manifest import load_manifest
from pag_ros.runtime.models import DEFAULT_MODEL

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from budget_reports import REPORT

from pag_ros.budget import Rung
from pag_ros.ros.diagnostics import (
    Input,
    budget_status,
    counters_status,
    deadline_status,
    input_status,
    of_camera,
    scale_status,
    sign,
)
from pag_ros.ros.outputs import OUTPUTS

SOURCE = Path(__file__).parents[1]


@pytest.mark.parametrize("camera", ["", "front"])
def test_every_status_is_in_one_group_of_the_aggregator(camera: str) -> None:
    groups = _parameters("diagnostics/analyzers.yaml")["analyzers"]["ros__parameters"]
    del groups["path"]
    statuses = of_camera(
        camera,
        [
            input_status(Input("/image", "", [], None, reliable=True, camera=None), 2.0),
            deadline_status(None, 0.0, {}, 0.0, 0.0),
            budget_status(REPORT, Rung.FULL),
            scale_status(None),
            counters_status({"bad": 0, "processed": 0, "received": 0}),
        ],
    )
    sign(statuses, "robot/pag_perception")
    names = [*(status.name for status in statuses), "robot/pag_perception: engine"]
    found = [
        [key for key, group in groups.items() if any(part in name for part in group["contains"])]
        for name in names
    ]
    assert [len(keys) for keys in found] == [1] * len(names)
    assert {key for keys in found for key in keys} == set(groups)


def test_layouts_show_what_the_node_publishes_in_any_frame() -> None:
    """Foxglove's topics are absolute, RViz's relative; neither names a camera's frame."""
    published = {f"/{topic}" for topic in OUTPUTS} | {"/diagnostics"}
    text = (SOURCE / "config/foxglove/perception.json").read_text(encoding="utf-8")
    layout = json.loads(text)
    panels = layout["configById"]
    shown = {panel["imageMode"]["imageTopic"] for panel in panels.values() if "imageMode" in panel}
    shown |= {topic for panel in panels.values() for topic in panel.get("topics", {})}
    shown |= {panel["topicToRender"] for panel in panels.values() if "topicToRender" in panel}
    assert len(shown) == 6
    assert shown <= published
    assert _leaves(layout["layout"]) == set(panels)
    assert "frame" not in text.lower()
    rviz = yaml.safe_load((SOURCE / "config/rviz/perception.rviz").read_text(encoding="utf-8"))
    displays = rviz["Visualization Manager"]["Displays"]
    assert {f"/{display['Topic']['Value']}" for display in displays} <= published


def _leaves(layout: Any) -> set[str]:
    if isinstance(layout, str):
        return {layout}
    return _leaves(layout["first"]) | _leaves(layout["second"])


def test_the_costmap_reads_what_the_node_publishes_and_knows_all_that_can_be_in_the_way() -> None:
    costmap = _parameters("nav2/local_costmap.yaml")["local_costmap"]["local_costmap"]
    layers = costmap["ros__parameters"]
    assert all(layer in layers for layer in layers["plugins"])
    camera = layers["semantic_layer"]["camera"]
    labels = camera.pop("labels_topic")
    assert labels == "/segmentation/label_info"
    topics = {value for name, value in camera.items() if name.endswith("_topic")}
    topics.add(layers["voxel_layer"]["camera"]["topic"])
    assert {topic.lstrip("/") for topic in topics} <= OUTPUTS.keys()
    named = [name for kind in camera["class_types"] for name in camera[kind]["classes"]]
    manifest = load_manifest(SOURCE / "engines" / f"{DEFAULT_MODEL}.onnx")
    classes = {each.name for each in manifest.classes}
    assert sorted(named) == sorted(classes - {"ceiling"})


def _parameters(file: str) -> dict[str, Any]:
    parameters: dict[str, Any] = yaml.safe_load((SOURCE / "config" / file).read_text())
    return parameters
