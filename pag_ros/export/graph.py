"""The network as a robot runs it: from camera bytes to metric depth, unit normals and labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from pag_ros.model import PagNetwork
from pag_ros.model.gating import DenseGating, Gating, SparseGating
from pag_ros.model.network import metric_depth


class DeployedNetwork(nn.Module):
    """A network with its pre- and post-processing, gated blocks as `pag` operators.

    Args:
        network: in evaluation mode.
    """

    def __init__(self, network: PagNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, fx: Tensor, keep: Tensor, plan: Tensor) -> tuple[Tensor, ...]:
        """The graph of docs/operators.md.

        Args:
            image: [1,H,W,3] uint8 RGB.
            fx: [1] float32, focal length in pixels of this image.
            keep: [L] int32, pixels to compute in each gated block.
            plan: [L,2] float32, see `pag_ros.model.operators.select`.

        Returns:
            The outputs named by `output_names`.
        """
        gating = SparseGating(keep, plan)
        outputs = self._outputs(image, fx, gating)
        return (*outputs, torch.cat(gating.count), *gating.index)

    def output_names(self) -> list[str]:
        """Names of what `forward` returns, in order."""
        indices = [f"index{slot}" for slot in range(len(self.network.gated))]
        return [*_head_outputs(self.network), "count", *indices]

    def _outputs(self, image: Tensor, fx: Tensor, gating: Gating) -> list[Tensor]:
        size = (image.shape[1], image.shape[2])
        raw = self.network(image.permute(0, 3, 1, 2).to(torch.float32), gating)
        full = {
            name: F.interpolate(value, size=size, mode="bilinear", align_corners=False)
            for name, value in raw.items()
        }
        outputs = []
        if "depth" in full:
            outputs.append(metric_depth(full["depth"], fx, size[1])[:, 0])
        if "normals" in full:
            outputs.append(F.normalize(full["normals"], dim=1).permute(0, 2, 3, 1))
        if "segmentation" in full:
            logits = full["segmentation"]
            outputs += [logits.argmax(1).to(torch.uint8), logits.softmax(1).amax(1)]
        if "boundary" in full:
            outputs.append(full["boundary"].sigmoid()[:, 0])
        return outputs


class DenseNetwork(DeployedNetwork):
    """The same network with every pixel computed and no custom operator: for any dense runtime."""

    def forward(self, image: Tensor, fx: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """Args and outputs as in `DeployedNetwork.forward`, without keep, plan, count and index."""
        return tuple(self._outputs(image, fx, DenseGating()))

    def output_names(self) -> list[str]:
        return _head_outputs(self.network)


def _head_outputs(network: PagNetwork) -> list[str]:
    names = {
        "depth": ["depth"],
        "normals": ["normals"],
        "segmentation": ["labels", "confidence"],
        "boundary": ["boundary"],
    }
    return [name for head in names if head in network.config.heads for name in names[head]]
