"""Every reader of files, given hundreds of damaged ones: it accepts, or refuses in its own words.

A refusal is a `PagError` that names the file. Anything else that comes out of a reader, or memory
that is taken because a file claims much, fails here.
"""

from __future__ import annotations

import json
import random
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from fuzzing import assert_refusals_are_ours, seeds
from mutations import damaged_json, damaged_yaml, mutate_bytes

from pag_ros.budget import (
    Controller,
    LatencyTable,
    RecordedController,
    StageLatency,
    load_table,
    save_table,
)
from pag_ros.budget.decision_log import first_difference, read_decisions
from pag_ros.lab.commands.bench_deadline import read_trace
from pag_ros.lab.datasets.rooms import RoomPictures
from pag_ros.lab.results.runs import load_runs
from pag_ros.manifest import LabelClass, load_manifest, manifest_path
from pag_ros.ros.palette import recolored
from pag_ros.runtime.onnx_precheck import check_onnx
from pag_ros.runtime.tensorrt.engine_cache import EngineCache, EngineKey
from pag_ros.runtime.tensorrt.self_check import read_reference

ROOT = Path(__file__).parents[2]


@pytest.fixture
def table() -> LatencyTable:
    def stage(name: str, *keep: int) -> StageLatency:
        return StageLatency(name, keep, tuple(0.001 * (1 + pixels / 48) for pixels in keep))

    gated = (stage(name, 0, 24, 48) for name in ("block0", "block1"))
    return LatencyTable((stage("encoder", 0), *gated, stage("heads", 0)))


def test_manifests(model: Path) -> None:
    path = manifest_path(model)
    sound = json.loads(path.read_text())

    def damage(rng: random.Random) -> None:
        path.write_bytes(damaged_json(sound, rng))
        manifest = load_manifest(model)
        for budget in (0.0, 0.01, 0.5, 1.0):
            manifest.keep_for(budget)

    assert_refusals_are_ours("manifests", damage, "tiny.json", 1000)


def test_ranges_of_quantized_models(model: Path) -> None:
    pytest.importorskip("openvino")
    from pag_ros.runtime.openvino.quantization import (
        GatedRanges,
        Quantization,
        Rounding,
        load_quantization,
        quantization_path,
        save_quantization,
    )

    sha256 = load_manifest(model).sha256
    roundings = (Rounding("embedded", 0, 0.0, 1.0), Rounding("small", 0, -1.0, 1.0))
    gated = (GatedRanges("block0_h", (-0.5,) * 8, (1.5,) * 8),)
    biases = {"added": (0.5, 0.25)}
    save_quantization(Quantization(sha256, roundings, ("small",), biases, gated), model)
    path = quantization_path(model)
    sound = json.loads(path.read_text())

    def damage(rng: random.Random) -> None:
        path.write_bytes(damaged_json(sound, rng))
        for rounding in load_quantization(model, sha256).roundings:
            assert np.float32(rounding.low) < np.float32(rounding.high)

    assert_refusals_are_ours("ranges of quantized models", damage, "tiny.int8.json", 1000)


def test_latency_tables_count_as_missing(
    model: Path, table: LatencyTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    manifest, path = load_manifest(model), save_table(table, "key")
    sound, stages = json.loads(path.read_text()), tuple(stage.name for stage in table.stages)
    for seed, tally in seeds("latency tables", 1000):
        path.write_bytes(damaged_json(sound, random.Random(seed)))
        said: list[str] = []
        stored = load_table("key", stages, said.append)
        assert (stored is None) == bool(said)
        tally.refused += stored is None
        if stored is not None:
            controller = Controller(manifest, stored)
            for left_s in (None, 0.0, 0.01, 10.0):
                plan = controller.plan(left_s)
                if plan is not None:
                    controller.observe(plan, plan.keep, [0.01] * len(stages))


def test_decision_logs(model: Path, table: LatencyTable, tmp_path: Path) -> None:
    decisions = pytest.importorskip("pag_ros.evaluation.decisions", exc_type=ImportError)
    manifest, path = load_manifest(model), tmp_path / "log.jsonl"
    controller = RecordedController(path, manifest, table)
    for frame in range(6):
        plan = controller.plan(0.05 - 0.008 * frame)
        if plan is not None:
            controller.observe(plan, plan.keep, [1.1 * s for s in plan.stage_seconds])
    controller.rescale(1.2)
    controller.close()
    lines = path.read_bytes().splitlines()

    def damage(rng: random.Random) -> None:
        number = rng.randrange(len(lines))
        changed = [*lines]
        changed[number] = damaged_json(json.loads(lines[number]), rng)
        path.write_bytes(b"\n".join(changed) + b"\n")
        first_difference(path, manifest)
        decisions.summary(decisions.course_of(read_decisions(path)))

    assert_refusals_are_ours("decision logs", damage, "log.jsonl", 400)


def test_palettes(tmp_path: Path) -> None:
    sound = yaml.safe_load((ROOT / "config" / "palettes" / "indoor.yaml").read_text())
    path, classes = tmp_path / "palette.yaml", [LabelClass(name, (0, 0, 0)) for name in sound]

    def damage(rng: random.Random) -> None:
        path.write_bytes(damaged_yaml(sound, rng))
        assert all(0 <= part <= 255 for c in recolored(classes, path) for part in c.color)

    assert_refusals_are_ours("palettes", damage, "palette.yaml", 100)


def test_model_cards(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from pag_ros.lab.export.card import read_card

    sound = yaml.safe_load((ROOT / "engines" / "pag_lite0_indoor.yaml").read_text())
    path = tmp_path / "card.yaml"

    def damage(rng: random.Random) -> None:
        path.write_bytes(damaged_yaml(sound, rng))
        read_card(path)

    assert_refusals_are_ours("model cards", damage, "card.yaml", 60)


def test_training_configurations(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from pag_ros.lab.training.config import read_config

    source = ROOT / "config" / "train" / "pag_lite0_indoor.yaml"
    sound, path = yaml.safe_load(source.read_text()), tmp_path / "train.yaml"

    def damage(rng: random.Random) -> None:
        path.write_bytes(damaged_yaml(sound, rng))
        read_config(path)

    assert_refusals_are_ours("training files", damage, "train.yaml", 60)


def test_configurations_of_checkpoints(tmp_path: Path) -> None:
    from pag_ros.lab.transformers.variants import declared_variant

    sound: dict[str, Any] = {
        "model_type": "depth_anything",
        "depth_estimation_type": "metric",
        "max_depth": 20,
        "backbone_config": {"out_indices": [3, 6, 9, 12]},
    }

    def damage(rng: random.Random) -> None:
        (tmp_path / "config.json").write_bytes(damaged_json(sound, rng))
        declared_variant(tmp_path / "model.safetensors")

    assert_refusals_are_ours("configurations", damage, "config.json", 500)


def test_taught_gates(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from pag_ros.lab.transformers.depth_anything import GatedDepthAnything
    from pag_ros.lab.transformers.gates import load_gates, save_gates

    network, path = GatedDepthAnything("tiny"), tmp_path / "a.gates.safetensors"
    save_gates(network, path)
    sound = path.read_bytes()

    def damage(rng: random.Random) -> None:
        # The header: what follows it is numbers, of which any are gates.
        path.write_bytes(mutate_bytes(sound[:1200], rng) + sound[1200:])
        load_gates(network, path)

    assert_refusals_are_ours("taught gates", damage, "a.gates.safetensors", 150)


def test_references(tmp_path: Path) -> None:
    manifest = load_manifest(ROOT / "engines" / "pag_lite0_indoor.onnx")
    source, path = ROOT / "engines" / "pag_lite0_indoor.reference.npz", tmp_path / "a.npz"
    with zipfile.ZipFile(source) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}

    def damage(rng: random.Random) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in parts.items():
                if rng.random() < 0.3:
                    content = mutate_bytes(content[:128], rng) + content[128:]
                archive.writestr(name, content)
        if rng.random() < 0.3:
            path.write_bytes(mutate_bytes(path.read_bytes(), rng))
        read_reference(path, manifest)

    assert_refusals_are_ours("references", damage, "a.npz", 150)


def test_rendered_rooms(tmp_path: Path) -> None:
    sound: dict[str, Any] = {"id": "000000", "scene": 0, "fx": 52.0, "fy": 52.0}
    _write_frame(tmp_path)

    def damage(rng: random.Random) -> None:
        (tmp_path / "frames.jsonl").write_bytes(damaged_json(sound, rng) + b"\n")
        classes = {"classes": ["a", "b", "c"]}
        if rng.random() < 0.5:
            (tmp_path / "dataset.json").write_bytes(damaged_json(classes, rng))
        else:
            (tmp_path / "dataset.json").write_text(json.dumps(classes))
        dataset = RoomPictures([tmp_path])
        for number in range(len(dataset)):
            dataset[number]

    assert_refusals_are_ours("datasets of rooms", damage, str(tmp_path), 1000)


def test_traces(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"

    def damage(rng: random.Random) -> None:
        path.write_bytes(damaged_json({"step_s": 0.01, "slowdown": [1.0, 1.2, 2.0]}, rng))
        read_trace(path)

    assert_refusals_are_ours("traces", damage, "trace.json", 1000)


def test_results_of_comparisons(tmp_path: Path) -> None:
    source = next((ROOT / "docs" / "results").glob("*.json"))
    sound, path = json.loads(source.read_text()), tmp_path / "run.json"

    def damage(rng: random.Random) -> None:
        path.write_bytes(damaged_json(sound, rng))
        load_runs(tmp_path)

    assert_refusals_are_ours("results of comparisons", damage, "run.json", 1000)


def test_stored_engines_count_as_missing(tmp_path: Path) -> None:
    key = EngineKey("m", "a" * 64, "10.3", "Orin", 87, "fp16", "320x240", "k", 8, "0.1.0")
    cache = EngineCache(tmp_path)
    cache.obtain(key, lambda: (b"ENGINE", {"build_seconds": 1.0}))
    (note,) = tmp_path.glob("*.json")
    sound = json.loads(note.read_text())
    for seed, tally in seeds("notes of stored engines", 200):
        note.write_bytes(damaged_json(sound, random.Random(seed)))
        found = cache.find(key)
        assert found is None or found.content == b"ENGINE"
        tally.refused += found is None


def test_matlab_files(tmp_path: Path) -> None:
    """scipy's reader ends the process at some of these where it gets them unseen."""
    scipy_io = pytest.importorskip("scipy.io")
    from pag_ros.lab.datasets.files import read_mat

    path = tmp_path / "a.mat"
    cells = np.empty((1, 2), object)
    cells[:] = [[{"Boundaries": np.eye(4)}, "text"]]
    scipy_io.savemat(path, {"cells": cells, "x": np.ones((3, 4)), "c": np.ones(3) * 1j})
    sound = path.read_bytes()

    def damage(rng: random.Random) -> None:
        path.write_bytes(sound[:128] + mutate_bytes(sound[128:], rng))
        read_mat(path)

    assert_refusals_are_ours("MATLAB files", damage, "a.mat", 1500)


def test_onnx_files(model: Path) -> None:
    sound = model.read_bytes()
    for seed, tally in seeds("ONNX graphs", 400):
        tally.refused += 1
        with suppress(ValueError):
            check_onnx(mutate_bytes(sound, random.Random(seed)))
            tally.refused -= 1


def test_furniture_catalogues(tmp_path: Path) -> None:
    catalog = pytest.importorskip("pag_ros.lab.scenes.catalog", exc_type=ImportError)
    path = tmp_path / "a.sh3f"
    entry = {"name": "Chair", "category": "Living room", "model": "c.obj"}
    sizes = {"width": "45", "depth": "45", "height": "90", "elevation": "0"}
    properties = "\n".join(f"{key}#1={value}" for key, value in {**entry, **sizes}.items())
    members = {
        "PluginFurnitureCatalog.properties": properties.encode(),
        "c.obj": b"mtllib c.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 1\nusemtl m\nf 1 2 3\n",
        "c.mtl": b"newmtl m\nKd 0.5 0.5 0.5\nd 0.9\n",
    }

    def damage(rng: random.Random) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(
                    name, mutate_bytes(content, rng) if rng.random() < 0.4 else content
                )
        if rng.random() < 0.6:
            path.write_bytes(mutate_bytes(path.read_bytes(), rng))
        for entry in catalog.read_catalogue(path):
            mesh = catalog.load_model(entry)
            assert mesh is None or np.isfinite(mesh.vertices).all()

    assert_refusals_are_ours("furniture catalogues", damage, "a.sh3f", 400)


def _write_frame(folder: Path) -> None:
    """The four pictures of frame 000000, 8x6 pixels."""
    (folder / "frames").mkdir()
    stem = folder / "frames" / "000000"
    for name, pixels in {
        "color.jpg": np.zeros((6, 8, 3), np.uint8),
        "depth.png": np.full((6, 8), 1500, np.uint16),
        "normal.png": np.full((6, 8, 3), 128, np.uint8),
        "label.png": np.ones((6, 8), np.uint8),
    }.items():
        cv2.imwrite(f"{stem}.{name}", pixels)
