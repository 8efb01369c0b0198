"""The network as a robot runs it: from camera bytes to metric depth, unit normals and labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from pag_ros.lab.model import PagNetwork, operators
from pag_ros.lab.model.gating import DenseGating, Gating, SparseGating
from pag_ros.lab.model.network import camera_normals, metric_depth
from pag_ros.runtime.outputs import OUTPUTS


class DeployedNetwork(nn.Module):
    """A network with its pre- and post-processing, gated blocks as `pag` operators.

    Args:
        network: in evaluation mode.
    """

    def __init__(self, network: PagNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, image: Tensor, fx: Tensor, keep: Tensor, limits: Tensor
    ) -> tuple[Tensor, ...]:
        """The graph of docs/operators.md.

        Args:
            image: [1,H,W,3] uint8 RGB.
            fx: [1] float32, focal length in pixels of this image.
            keep: [L] int32, pixels to compute in each gated block.
            limits: [L,3] float32, see `pag_ros.lab.model.operators.select`; the input `plan`.

        Returns:
            The outputs named by `output_names`.
        """
        gating = SparseGating(keep, limits)
        outputs = self._outputs(image, fx, gating)
        return (*outputs, torch.cat(gating.count), *gating.index)

    def output_names(self) -> list[str]:
        """Names of what `forward` returns, in order."""
        indices = [f"index{slot}" for slot in range(len(self.network.gated))]
        return [*_head_outputs(self.network), "count", *indices]

    def _outputs(self, image: Tensor, fx: Tensor, gating: Gating) -> list[Tensor]:
        size = (image.shape[1], image.shape[2])
        raw = self.network(image.permute(0, 3, 1, 2).to(torch.float32), gating)
        logits = raw.pop("segmentation", None)
        if "normals" in raw and self.network.config.canonical_normals:
            raw["normals"] = camera_normals(raw["normals"], fx, size[1])
        full = _enlarged(raw, size)
        outputs: list[Tensor] = []
        if "depth" in full:
            outputs.append(metric_depth(full["depth"], fx, size[1])[:, 0])
        if "normals" in full:
            outputs.append(F.normalize(full["normals"], dim=1).permute(0, 2, 3, 1))
        if logits is not None:
            outputs += self._classify(logits, size)
        if "boundary" in full:
            outputs.append(full["boundary"].sigmoid()[:, 0])
        return outputs

    def _classify(self, logits: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        return operators.classify(logits, *size)


class DenseNetwork(DeployedNetwork):
    """The same network with every pixel computed and no custom operator: for any dense runtime."""

    def forward(self, image: Tensor, fx: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """As `DeployedNetwork.forward`, without keep, limits, count and index."""
        return tuple(self._outputs(image, fx, DenseGating()))

    def output_names(self) -> list[str]:
        return _head_outputs(self.network)

    def _classify(self, logits: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        return standard_classify(logits, *size)


def standard_classify(logits: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """What `operators.classify` gives, in standard operators.

    With maxima and sums: ArgMax and Softmax across channels are slow in most runtimes.
    """
    large = F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)
    classes = large.shape[1]
    top = large.amax(1, keepdim=True)
    # The best class counts classes - label, all others zero; of equals the lower one wins.
    rank = torch.arange(classes, 0, -1, dtype=large.dtype).view(1, classes, 1, 1)
    labels = classes - ((large == top).to(large.dtype) * rank).amax(1).clamp(min=1.0)
    return labels.to(torch.uint8), 1.0 / torch.exp(large - top).sum(1)


def _enlarged(maps: dict[str, Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
    """Maps [1,C,h,w] at full size, by one interpolation: with few channels each is slow."""
    if not maps:
        return {}
    together = torch.cat(list(maps.values()), dim=1)
    large = F.interpolate(together, size=size, mode="bilinear", align_corners=False)
    parts = torch.split(large, [value.shape[1] for value in maps.values()], dim=1)
    return dict(zip(maps, parts, strict=True))


def _head_outputs(network: PagNetwork) -> list[str]:
    return [output.name for output in OUTPUTS if output.part in network.config.heads]
