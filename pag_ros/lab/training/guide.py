"""What teaches a head where a sample has no truth for it: an earlier or an averaged network.

A frozen copy of the start keeps a head where it was (Li and Hoiem, "Learning without forgetting",
ECCV 2016). The moving average of the weights is a little better than the network of the moment, and
teaches it pictures that nobody has labelled (Tarvainen and Valpola, "Mean teachers", NeurIPS 2017).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pag_ros.lab.model import PagNetwork
from pag_ros.lab.model.gating import DenseGating
from pag_ros.lab.training.arithmetic import fast_arithmetic
from pag_ros.lab.training.distillation import distillation_losses
from pag_ros.lab.training.tasks import known_samples


class Guide:
    """A network that teaches what a batch has no truth for.

    Args:
        network: in evaluation mode.
        heads: of both networks.
        holds: whether it holds outputs where they were, or makes them better. To hold, it sees the
            very picture that the network sees: of the start's own weights nothing is then to learn.
            To improve, it sees the picture without the flaws that augmentation gives it, so that
            an easy view teaches a hard one; and of its depth only the shape counts.
    """

    def __init__(self, network: PagNetwork, heads: Sequence[str], holds: bool) -> None:
        self.network = network
        self.heads = heads
        self.holds = holds

    def outputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What it makes of a batch, of the heads for which some sample has no truth.

        Samples that have all truths are left at 0.
        """
        known = known_samples(batch)
        lacking = [head for head in self.heads if not known[head].all()]
        if not lacking:
            return {}
        rows = torch.stack([~known[head] for head in lacking]).any(0)
        view = "image" if self.holds or "plain" not in batch else "plain"
        image = batch[view][rows].float()
        with torch.no_grad(), fast_arithmetic(image.device):
            outputs = self.network(
                image.contiguous(memory_format=torch.channels_last), DenseGating()
            )
        return {head: _spread(outputs[head].float(), rows) for head in lacking}

    def losses(
        self, outputs: dict[str, Tensor], taught: dict[str, Tensor], batch: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Head -> how far the outputs are from what is `taught`, over samples without a truth."""
        known = known_samples(batch)
        samples = {head: ~known[head] for head in taught}
        return distillation_losses(outputs, taught, samples, scale_free=not self.holds)


def _spread(values: Tensor, rows: Tensor) -> Tensor:
    """Values [n,...] of the n samples of `rows` [B] bool as [B,...], the others at 0."""
    whole = values.new_zeros(len(rows), *values.shape[1:])
    whole[rows] = values
    return whole
