"""Names, types and shapes of a model's inputs and outputs: what every backend binds and checks."""

from __future__ import annotations

import numpy as np

from pag_ros.manifest import Manifest
from pag_ros.runtime.outputs import OUTPUTS

Layout = dict[str, tuple[type[np.generic], tuple[int, ...]]]
"""Tensor name -> (NumPy type, shape)."""


def input_layout(manifest: Manifest) -> Layout:
    """What a model takes.

    `image` [1,H,W,3] RGB; `fx` focal length in pixels; `keep` pixels per gated block; `plan` the
    limits of every gated block, see `frame_clock.limit_rows`.

    The input `plan` keeps the name that it has in every exported file. Our code calls what lies in
    it the limits (start, rest, threshold), since a plan is what the controller makes of a frame.
    """
    blocks = len(manifest.blocks)
    return {
        "image": (np.uint8, (1, manifest.height, manifest.width, 3)),
        "fx": (np.float32, (1,)),
        "keep": (np.int32, (blocks,)),
        "plan": (np.float32, (blocks, 3)),
    }


def output_layout(manifest: Manifest) -> Layout:
    """What a model with these heads gives.

    `count` [L] is how many pixels each gated block computed, `index0` ... `index{L-1}` are which:
    as many entries as the block has pixels; those past its count mean nothing.
    """
    layout: Layout = {
        output.name: (output.dtype, (1, *output.shape(manifest.height, manifest.width)))
        for output in OUTPUTS
        if output.part in manifest.heads
    }
    layout["count"] = (np.int32, (len(manifest.blocks),))
    for slot, block in enumerate(manifest.blocks):
        layout[f"index{slot}"] = (np.int32, (block.pixels,))
    return layout
