"""The benchmark compares like with like, and its rows say what docs/benchmarks.md promises."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("onnx")

from pag_ros.lab.bench import dense, ops
from pag_ros.lab.bench.masks import MASKS, listed_pixels

SMALL = [
    ops.Case("conv1x1", 16, 6, 7),
    ops.Case("conv3x3", 16, 6, 7),
    ops.Case("block", 16, 6, 7, "basic", "branch"),
    ops.Case("block", 16, 6, 7, "bottleneck", "branch"),
    ops.Case("block", 16, 6, 7, "bottleneck", "conv3x3"),
    ops.Case("block", 16, 6, 7, "mbconv", "branch"),
]


def outputs(case: ops.Case) -> dict[str, np.ndarray]:
    """What the runtimes make of the same input, [H,W,C]."""
    ov = pytest.importorskip("openvino")
    chain = ops._Chain(case, threads=2)
    picture = chain.picture()
    compiled = ov.Core().compile_model(
        ov.Core().read_model(chain.onnx(), b""), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    results = {"openvino": np.array(compiled(picture)[0])[0].transpose(1, 2, 0)}
    module = chain.torch()
    if module is not None:
        import torch

        with torch.no_grad():
            results["torch"] = module(torch.from_numpy(picture))[0].permute(1, 2, 0).numpy()
    pixels = case.height * case.width
    chain.sparse(np.arange(pixels, dtype=np.int32), pixels)
    # An even number of convolutions ends in the map that the first one read.
    results["ours"] = chain._maps[0]
    chain.workspace.close()
    return results


@pytest.mark.parametrize("case", SMALL, ids=lambda case: f"{case.block or case.op}")
def test_all_runtimes_compute_the_same(case):
    results = outputs(case)
    for name, result in results.items():
        np.testing.assert_allclose(result, results["ours"], atol=1e-4, err_msg=name)


def test_rows_hold_every_density_and_mask():
    case = ops.Case("conv3x3", 16, 6, 7)
    rows = ops.measure(case, (0.5, 1.0), MASKS, threads=1, rounds=1)
    assert [(row["mask"], row["density"]) for row in rows] == [
        (mask, density) for mask in MASKS for density in (0.5, 1.0)
    ]
    for row in rows:
        assert (row["op"], row["channels"], row["height"], row["width"]) == ("conv3x3", 16, 6, 7)
        assert set(row["dense_ms"]) == set(dense.installed())
        best = min(row["dense_ms"].values())
        assert row["speedup"] == pytest.approx(best / row["sparse_ms"], rel=0.05)


def test_every_case_is_a_chain_of_fitting_convolutions():
    for case in ops.CASES:
        layers = case.layers()
        assert layers[0].inputs == layers[-1].outputs == case.channels
        assert all(a.outputs == b.inputs for a, b in pairwise(layers))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("density", [0.0, 0.05, 0.5, 1.0])
def test_masks_have_exactly_the_density_asked_for(mask, density):
    index, count = listed_pixels(mask, 30, 40, density)
    assert count == round(density * 1200)
    assert len(set(index[:count].tolist())) == count


def test_blobs_have_more_active_neighbours_than_random_pixels():
    def neighbours(mask):
        index, count = listed_pixels(mask, 30, 40, 0.3)
        active = np.zeros(1200, bool)
        active[index[:count]] = True
        active = active.reshape(30, 40)
        return (active[:, 1:] & active[:, :-1]).sum()

    assert neighbours("blobs") > 2 * neighbours("random")
