"""The gates learn from the network itself, on pictures that nobody has labelled.

The teacher is the network with every token kept. The student is the same network with the tokens
that its gates keep, at a budget drawn anew in each step and other ones around it in each block; no
weight learns but the gates'. What a token's score should be follows from what the outputs lose
where it, and those that it stands for, take an ancestor's change in place of its own (see
`likeness`): its mask is 0 or 1 on the way forward and a sigmoid around the last kept score on the
way back (straight-through, see `TopKGating`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pag_ros.errors import ParameterError
from pag_ros.lab.model.gating import TopKGating
from pag_ros.lab.training.arithmetic import fast_arithmetic
from pag_ros.lab.transformers.depth_anything import GatedDepthAnything, normalised
from pag_ros.lab.transformers.likeness import GENERATIONS, Kinship
from pag_ros.lab.transformers.sharing import MOST, counts, shared
from pag_ros.lab.transformers.vit import PATCH, Block, Turns, grid_of

SHOWN_BUDGETS = (0.7, 0.5, 0.3)
"""That the loss is told at before and after."""

_MIN_DEPTH = 1e-3
_MIN_SPREAD = 1e-6
_FEATURE_WEIGHT = 0.5
_BATCHES = 2, 16
_VALUES_AT_ONCE = 40_000_000
"""Of tokens, in all blocks: about thirty times as many bytes are kept for the gradient."""
_LEAST_SHARE = 0.02
_TILTS = (-0.8, -0.6, -0.4, -0.2, 0.0, 0.2, 0.4)
_MEASURED_PICTURES = 16
"""That the tokens' spread is measured on."""


@dataclass(frozen=True)
class Lesson:
    """How gates are taught.

    Attributes:
        minutes: the clock ends it, after one step at least.
        steps: at most so many; None: as many as there is time for.
        batch: pictures of a step; None: as many as fit into a few gigabytes.
        lowest: budget; each step draws one from it to 1, and a tilt (see `sharing`).
        spread: of the blocks' own budgets around that, to both sides.
        rate: learning rate at the start; falls to 0 along a line.
        temperature, noise: see `TopKGating`.
        together: share of the steps in which the pictures of a batch compete for one sum of
            tokens, which makes scores of different pictures comparable.
        seed: of everything random.

    Raises:
        ParameterError: a value is outside what it may be.
    """

    minutes: float = 20.0
    steps: int | None = None
    batch: int | None = None
    lowest: float = 0.15
    spread: float = 0.15
    rate: float = 0.02
    temperature: float = 0.5
    noise: float = 0.3
    together: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.minutes <= 1e5:
            raise ParameterError(f"minutes must lie above 0, up to 100000, got {self.minutes:g}")


@dataclass(frozen=True)
class Taught:
    """What came of it: the loss of depth at budgets, on pictures held back; steps that it took."""

    before: Mapping[float, float]
    after: Mapping[float, float]
    steps: int

    def line(self) -> str:
        """For people."""
        changes = (
            f"at {budget:g} {self.before[budget]:.4f} -> {self.after[budget]:.4f}"
            for budget in self.before
        )
        return "|log depth| off the whole network's: " + ", ".join(changes)


def teach(
    network: GatedDepthAnything,
    pictures: Tensor,
    held_back: Tensor,
    lesson: Lesson | None = None,
    progress: Callable[[float, float], None] = lambda share, loss: None,
    stop: Callable[[], bool] = lambda: False,
) -> Taught:
    """Teach the gates in place, and choose how the blocks share; no other weight changes.

    Args:
        network: in evaluation mode.
        pictures: [N,3,H,W] uint8 RGB, sides whole multiples of `PATCH`.
        held_back: [M,3,H,W] the same, to measure on; of many, two batches, evenly spread.
        progress: called after each step with the share that is done and the loss.
        stop: asked after each step; what was learned so far is then kept.
    """
    lesson = lesson or Lesson()
    batch = lesson.batch or _fitting_batch(network, pictures)
    held_back = held_back[_spread_over(len(held_back), 2 * batch)]
    before = losses(network, held_back)
    generator = torch.Generator().manual_seed(lesson.seed)
    torch.manual_seed(lesson.seed)
    with _frozen(network):
        gates = TokenGates(network, pictures[_spread_over(len(pictures), _MEASURED_PICTURES)])
        steps = _learn(network, gates, pictures, lesson, batch, generator, progress, stop)
    gates.write(network.pretrained.gated)
    standardise(network, pictures[_spread_over(len(pictures), _MEASURED_PICTURES)])
    choose_tilt(network, pictures[_spread_over(len(pictures), 2 * batch)])
    return Taught(before, losses(network, held_back), steps)


def losses(
    network: GatedDepthAnything, pictures: Tensor, budgets: Sequence[float] = SHOWN_BUDGETS
) -> dict[float, float]:
    """Budget -> mean difference of the depth from that with every token kept, see `depth_loss`."""
    found = _losses(network, pictures, [network.tilt], budgets)
    return {budget: found[network.tilt, budget] for budget in budgets}


def choose_tilt(network: GatedDepthAnything, pictures: Tensor) -> None:
    """Let the blocks share a budget in the way that loses least on pictures."""
    found = _losses(network, pictures, _TILTS, SHOWN_BUDGETS)
    network.tilt = min(_TILTS, key=lambda tilt: sum(found[tilt, b] for b in SHOWN_BUDGETS))


@torch.no_grad()
def _losses(
    network: GatedDepthAnything, pictures: Tensor, tilts: Sequence[float], budgets: Sequence[float]
) -> dict[tuple[float, float], float]:
    """(tilt, budget) -> mean loss; the whole network runs once for each picture."""
    blocks, patches = network.pretrained.config.depth, _patches(pictures)
    cases = {(t, b): counts(b, t, blocks, patches) for t in tilts for b in budgets}
    sums = dict.fromkeys(cases, 0.0)
    for picture in pictures:
        image = _shares(picture[None])
        whole = network(image)
        for case, keep in cases.items():
            sums[case] += float(depth_loss(network(image, keep), whole, network.gives_depth))
    return {case: total / len(pictures) for case, total in sums.items()}


def depth_loss(depth: Tensor, whole: Tensor, metric: bool) -> Tensor:
    """Mean |difference| of log depth; of disparity, over its own mean deviation.

    Args:
        depth, whole: [B,1,H,W]; `whole` is the teacher's.
        metric: whether they are depth, and no disparity.
    """
    if metric:
        return (_log(depth) - _log(whole)).abs().mean()
    middle = whole.flatten(1).median(1).values.view(-1, 1, 1, 1)
    deviation = (whole - middle).abs().mean((1, 2, 3), keepdim=True).clamp(min=_MIN_DEPTH)
    return ((depth - whole) / deviation).abs().mean()


@torch.no_grad()
def standardise(network: GatedDepthAnything, pictures: Tensor, budget: float = 0.5) -> None:
    """Give the scores of every gate mean 0 and standard deviation 1 over pictures.

    Their order stays. The controller's thresholds then mean the same in every block.
    """
    scores: list[list[Tensor]] = [[] for _ in network.pretrained.gated]
    hooks = [
        block.gate.register_forward_hook(
            lambda _, __, score, slot=block.slot: scores[slot].append(score.flatten())
        )
        for block in network.pretrained.gated
    ]
    patches = _patches(pictures)
    for picture in pictures:
        network.pretrained(
            normalised(_shares(picture[None])),
            [max(1, round(budget * patches))] * len(scores),
        )
    for hook in hooks:
        hook.remove()
    for block, each in zip(network.pretrained.gated, scores, strict=True):
        together = torch.cat(each)
        deviation = together.std().clamp(min=_MIN_SPREAD)
        block.gate.bias.copy_((block.gate.bias - together.mean()) / deviation)
        block.gate.weight.div_(deviation)


class TokenGates(nn.Module):
    """Gates as they learn: of what a gate sees brought to mean 0 and deviation 1 in each channel.

    A few channels of such networks are a hundred times as large as the others; no learning rate
    would suit both. What a gate sees is the token's channels and, last, its novelty, which alone
    counts at the start.
    """

    def __init__(self, network: GatedDepthAnything, pictures: Tensor) -> None:
        super().__init__()
        self.means, self.deviations = _statistics(network, pictures)
        self.weight = nn.Parameter(torch.zeros_like(self.means))
        self.weight.data[:, -1] = 1.0

    def score(self, seen: Tensor, slot: int) -> Tensor:
        """[B,P,C+1] -> [B,P]."""
        standard = (seen - self.means[slot]) / self.deviations[slot]
        return standard @ self.weight[slot]

    @torch.no_grad()
    def write(self, blocks: Sequence[Block]) -> None:
        """Let the network's own gates give the same scores, but for a constant."""
        for block in blocks:
            block.gate.weight.copy_(self.weight[block.slot] / self.deviations[block.slot])
            block.gate.bias.zero_()


@torch.no_grad()
def _statistics(network: GatedDepthAnything, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Means and deviations [L,C+1] of what the gates see where every token is computed."""
    seen: list[list[Tensor]] = [[] for _ in network.pretrained.gated]

    def look(patches: Tensor, slot: int) -> Tensor:
        seen[slot].append(patches[0])
        return torch.ones_like(patches[..., 0])

    for picture in pictures:
        masked_outputs(network, normalised(_shares(picture[None])), look)
    all_seen = [torch.cat(patches) for patches in seen]
    deviations = torch.stack([patches.std(0) for patches in all_seen]).clamp(min=_MIN_SPREAD)
    return torch.stack([patches.mean(0) for patches in all_seen]), deviations


def _learn(
    network: GatedDepthAnything,
    gates: TokenGates,
    pictures: Tensor,
    lesson: Lesson,
    batch: int,
    generator: torch.Generator,
    progress: Callable[[float, float], None],
    stop: Callable[[], bool],
) -> int:
    """Take steps until the lesson is over; returns how many."""
    optimizer = torch.optim.Adam(gates.parameters(), lesson.rate)
    began, share, steps = time.monotonic(), 0.0, 0
    while share < 1.0 and not (steps and stop()):
        for group in optimizer.param_groups:
            group["lr"] = lesson.rate * (1.0 - share)
        chosen = torch.randint(len(pictures), (batch,), generator=generator)
        loss = _step_loss(network, gates, pictures[chosen], lesson, generator)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        steps += 1
        share = (time.monotonic() - began) / (60.0 * lesson.minutes)
        if lesson.steps is not None:
            share = max(share, steps / lesson.steps)
        progress(min(share, 1.0), float(loss.detach()))
    return steps


def _step_loss(
    network: GatedDepthAnything,
    gates: TokenGates,
    pictures: Tensor,
    lesson: Lesson,
    generator: torch.Generator,
) -> Tensor:
    image = normalised(_shares(pictures))
    with torch.no_grad():
        whole = masked_outputs(network, image, None)
    together = float(torch.rand((), generator=generator)) < lesson.together
    density = draw_densities(network.pretrained.config.depth, len(pictures), lesson, generator)
    if together:
        density = density.mean(0, keepdim=True)
    masking = TopKGating(density, lesson.noise, lesson.temperature)

    def mask(seen: Tensor, slot: int) -> Tensor:
        score = gates.score(seen, slot)
        rows = score.view(1, 1, 1, -1) if together else score[:, None, None]
        return masking.mask(rows, slot).view_as(score)

    return _distance(masked_outputs(network, image, mask), whole, network.gives_depth)


def draw_densities(blocks: int, batch: int, lesson: Lesson, generator: torch.Generator) -> Tensor:
    """[B,L] share of its patches that each block computes."""
    total = torch.rand(batch, 1, generator=generator) * (1.0 - lesson.lowest) + lesson.lowest
    tilt = (2.0 * torch.rand(batch, 1, generator=generator) - 1.0) * MOST
    around = (2.0 * torch.rand(batch, blocks, generator=generator) - 1.0) * lesson.spread
    return (shared(total, tilt, blocks) + around).clamp(_LEAST_SHARE, 1.0)


@dataclass(frozen=True)
class DepthAndFeatures:
    depth: Tensor
    features: list[Tensor]


def masked_outputs(
    network: GatedDepthAnything, image: Tensor, mask: Callable[[Tensor, int], Tensor] | None
) -> DepthAndFeatures:
    """Depth and features of normalised pictures.

    A patch that is left out costs as much here: a gradient tells what it would have been worth.

    Args:
        mask: of what a block's gate sees of the patches, [B,P,C+1], and the block's slot, the
            patches [B,P] to compute; None computes all.
    """
    trunk = network.pretrained
    grid, free = grid_of(image), trunk.config.free
    kin: Kinship | None = None

    def step(block: Block, x: Tensor, turns: Turns | None) -> Tensor:
        nonlocal kin
        with fast_arithmetic(image.device):
            computed: Tensor = block(x, None, turns=turns).float()
        if mask is None:
            return computed
        kin = trunk.kin(block, x.detach(), grid, kin)
        seen = torch.cat([x.detach()[:, free:], kin.novelty[..., None]], 2)
        chosen = mask(seen, block.slot)
        change = computed - x
        inherited = _inherited(change[:, free:], chosen, kin.parent)
        return x + torch.cat([change[:, :free], inherited], 1)

    features = trunk.walk(image, step)
    with fast_arithmetic(image.device):
        depth = network.depth_head(features)
    return DepthAndFeatures(depth.float(), features)


def _inherited(change: Tensor, chosen: Tensor, parent: Tensor) -> Tensor:
    """[B,P,C] the change that each patch takes, as in `stand_ins`, but for a mask with a gradient.

    That of a patch is felt by its descendants, too, whose stand-in it is.
    """
    lineage = parent[..., None].expand_as(change)
    has_parent = parent != torch.arange(parent.shape[1], device=parent.device)
    own, left_out = chosen[..., None] * change, ((1.0 - chosen) * has_parent)[..., None]
    taken = own
    for _ in range(GENERATIONS):
        taken = own + left_out * taken.gather(1, lineage)
    return taken


def _distance(student: DepthAndFeatures, whole: DepthAndFeatures, metric: bool) -> Tensor:
    """Of the depths and, in units of their variance, of the features."""
    parts = [
        (ours - theirs).square().mean() / theirs.var().clamp(min=_MIN_SPREAD)
        for ours, theirs in zip(student.features, whole.features, strict=True)
    ]
    features = torch.stack(parts).mean()
    return depth_loss(student.depth, whole.depth, metric) + _FEATURE_WEIGHT * features


@contextmanager
def _frozen(network: GatedDepthAnything) -> Iterator[None]:
    """No gradient is computed for the network's own weights."""
    learned = [p for p in network.parameters() if p.requires_grad]
    network.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_()


def _shares(pictures: Tensor) -> Tensor:
    """uint8 -> 0 to 1."""
    return pictures.float() / 255.0


def _fitting_batch(network: GatedDepthAnything, pictures: Tensor) -> int:
    config = network.pretrained.config
    values = _patches(pictures) * config.width * config.depth
    return max(_BATCHES[0], min(_BATCHES[1], _VALUES_AT_ONCE // values))


def _log(depth: Tensor) -> Tensor:
    return depth.clamp(min=_MIN_DEPTH).log()


def _patches(pictures: Tensor) -> int:
    return int(pictures.shape[2] * pictures.shape[3] // PATCH**2)


def _spread_over(total: int, count: int) -> Tensor:
    return torch.linspace(0, total - 1, min(total, count)).long()
