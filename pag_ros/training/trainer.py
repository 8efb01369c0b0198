"""Multi-task training of a gated network for every budget.

Each sample of a batch gets its own random density per gated block (some all pixels, some the
smallest), so one network learns every budget. The last fifth trains what is shipped: no gate noise,
a nearly one-hot MultiPool, frozen normalisation statistics.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from pag_ros.errors import ParameterError
from pag_ros.model import NetworkConfig, PagNetwork, build_network
from pag_ros.model.gating import TopKGating
from pag_ros.model.multipool import MultiPool
from pag_ros.training.checkpoint import save_checkpoint
from pag_ros.training.rooms import EndlessSampler, Rooms
from pag_ros.training.tasks import task_losses, task_scores

_AVERAGE_DECAY = 0.998
"""Of the moving average of the weights, per iteration."""

FINAL_SHARE = 0.2
"""Share of the iterations, at the end, that train the network exactly as it is shipped."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training at one image size.

    Attributes:
        size: (width, height) of the samples.
        batch, iterations: of this phase.
        learning_rate: of the new layers at the start of the phase; falls along a cosine.
        final_learning_rate: at its end.
        encoder_rate: the pretrained encoder's learning rate relative to that; 0 = frozen.
    """

    size: tuple[int, int]
    batch: int
    iterations: int
    learning_rate: float
    final_learning_rate: float
    encoder_rate: float


@dataclass(frozen=True)
class TrainConfig:
    """A training run; see config/train/ for documented files.

    Attributes:
        network: what to train.
        phases: run one after the other.
        weights: loss weight per head.
        frozen_blocks: so many first encoder blocks keep their pretrained weights.
        density_min: smallest density trained for.
        seed: of everything random.
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    phases: tuple[Phase, ...] = ()
    weights: Mapping[str, float] = field(
        default_factory=lambda: {"depth": 1.0, "normals": 1.0, "segmentation": 0.5, "boundary": 0.5}
    )
    frozen_blocks: int = 3
    density_min: float = 0.15
    seed: int = 0

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> TrainConfig:
        """Build from parsed YAML.

        Raises:
            ParameterError: an unknown key or a phase that lacks one.
        """
        try:
            phases = tuple(
                Phase(**{**phase, "size": tuple(phase["size"])}) for phase in values["phases"]
            )
            network = NetworkConfig.from_mapping(values.get("network", {}))
            return cls(**{**values, "phases": phases, "network": network})
        except (TypeError, KeyError) as error:
            raise ParameterError(f"training configuration: {error}") from error


class Trainer:
    """Runs a `TrainConfig`, writes checkpoints and a log, resumes where it was killed.

    Args:
        config: what to do.
        train_folders, validation_folders: rendered datasets.
        out: folder for checkpoint.pt (latest state), log.jsonl.
        pretrained: ImageNet weights of the encoder, or None to start it at random.
    """

    def __init__(
        self,
        config: TrainConfig,
        train_folders: list[Path],
        validation_folders: list[Path],
        out: Path,
        pretrained: Path | None,
    ) -> None:
        self.config = config
        self.folders = train_folders
        self.validation_folders = validation_folders
        self.out = out
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(config.seed)
        self.network = build_network(config.network)
        if pretrained is not None:
            self.network.encoder.load_pretrained(pretrained)
        self.network.to(self.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = get_ema_multi_avg_fn(_AVERAGE_DECAY)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(self.network, multi_avg_fn=average, use_buffers=True)
        self.optimizer = torch.optim.AdamW(self._parameter_groups(), weight_decay=0.01)
        self.done = 0
        self.total = sum(phase.iterations for phase in config.phases)

    def run(self) -> PagNetwork:
        """Train to the end; returns the averaged network in evaluation mode."""
        self.out.mkdir(parents=True, exist_ok=True)
        self._resume()
        end = 0
        for number, phase in enumerate(self.config.phases):
            start, end = self.done - end, end + phase.iterations
            if self.done < end:
                self._run_phase(phase, start, seed=self.config.seed + number)
        return self._averaged()

    def _run_phase(self, phase: Phase, start: int, seed: int) -> None:
        self._set_encoder(phase.encoder_rate)
        rooms = Rooms(self.folders, phase.size, train=True, seed=seed)
        loader = DataLoader(
            rooms,
            batch_size=phase.batch,
            sampler=EndlessSampler(len(rooms), seed, start * phase.batch),
            num_workers=1,
            prefetch_factor=6,
        )
        bar = tqdm(
            loader, f"training {phase.size[0]}x{phase.size[1]}", phase.iterations, initial=start
        )
        began, seen = time.monotonic(), start
        sums: dict[str, float] = {}
        for iteration, batch in enumerate(bar, start):
            if iteration >= phase.iterations:
                break
            self._set_rate(phase, iteration)
            for name, value in self._step(batch).items():
                sums[name] = sums.get(name, 0.0) + value
            self.done += 1
            if self.done % 100 == 0 or self.done == self.total:
                count = iteration + 1 - seen
                row = {name: value / count for name, value in sums.items()}
                row["seconds"] = (time.monotonic() - began) / count
                self._log({"iteration": self.done, "train": row})
                bar.set_postfix({k: f"{v:.3f}" for k, v in row.items()})
                began, seen, sums = time.monotonic(), iteration + 1, {}
            if self.done % 500 == 0 or self.done == self.total:
                self._log({"iteration": self.done, "validation": self.validate(phase.size)})
                self._save()

    def _step(self, batch: dict[str, Tensor]) -> dict[str, float]:
        batch = {name: value.to(self.device) for name, value in batch.items()}
        self._set_mode()
        progress = self.done / self.total
        gating = TopKGating(
            self._densities(len(batch["image"])), noise=0.0 if self._is_final() else 1.0
        )
        with torch.autocast(self.device.type, torch.bfloat16):
            outputs = self.network(_to_input(batch["image"]), gating)
        terms = task_losses(outputs, batch)
        loss = torch.stack([self.config.weights[n] * term for n, term in terms.items()]).sum()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        if all(p.grad is None or p.grad.isfinite().all() for p in self.network.parameters()):
            self.optimizer.step()
        self.average.update_parameters(self.network)
        return {**{name: term.item() for name, term in terms.items()}, "progress": progress}

    def _densities(self, batch: int) -> Tensor:
        """[batch, blocks]: a fifth full, an eighth smallest, the rest around a random level."""
        low, blocks = self.config.density_min, len(self.network.gated)
        level = torch.rand(batch, 1, device=self.device)
        jitter = 0.4 * (torch.rand(batch, blocks, device=self.device) - 0.5)
        density = (low + (1 - low) * level + jitter).clamp(low, 1.0)
        fixed = torch.rand(batch, 1, device=self.device)
        density = torch.where(fixed < 0.2, torch.ones_like(density), density)
        return torch.where(fixed > 0.875, torch.full_like(density, low), density)

    @torch.no_grad()
    def validate(self, size: tuple[int, int], limit: int = 60) -> dict[str, dict[str, float]]:
        """Losses and delta1 of the averaged network on validation frames, at three densities."""
        rooms = Rooms(self.validation_folders, size, train=False)
        network = self._averaged()
        blocks = len(network.gated)
        rows: dict[str, dict[str, float]] = {}
        for density in (1.0, 0.5, 0.3):
            sums: dict[str, float] = {}
            count = min(limit, len(rooms))
            for i in range(count):
                batch = {k: v[None].to(self.device) for k, v in rooms[i].items()}
                gating = TopKGating(torch.full((blocks,), density, device=self.device))
                outputs = network(_to_input(batch["image"]), gating)
                for name, term in {
                    **task_losses(outputs, batch),
                    **task_scores(outputs, batch),
                }.items():
                    sums[name] = sums.get(name, 0.0) + float(term) / count
            rows[f"{density:.2f}"] = sums
        return rows

    def _averaged(self) -> PagNetwork:
        return cast(PagNetwork, self.average.module).eval()

    def _is_final(self) -> bool:
        return self.done >= (1.0 - FINAL_SHARE) * self.total

    def _set_mode(self) -> None:
        """Train, but the encoder's (and at the end all) normalisation statistics stay fixed."""
        self.network.train()
        frozen: nn.Module = self.network if self._is_final() else self.network.encoder
        for module in frozen.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        temperature = 2.0 * 0.1 ** min(1.0, self.done / self.total / (1.0 - FINAL_SHARE))
        for module in self.network.modules():
            if isinstance(module, MultiPool):
                module.temperature = temperature

    def _parameter_groups(self) -> list[dict[str, Any]]:
        encoder = self.network.encoder
        encoder.freeze(self.config.frozen_blocks)
        pretrained = [p for p in encoder.parameters() if p.requires_grad]
        known = {id(p) for p in encoder.parameters()}
        new = [p for p in self.network.parameters() if id(p) not in known]
        return [{"params": new, "scale": 1.0}, {"params": pretrained, "scale": 0.0}]

    def _set_encoder(self, rate: float) -> None:
        self.network.encoder.requires_grad_(rate > 0)
        self.network.encoder.freeze(self.config.frozen_blocks)
        self.optimizer.param_groups[1]["scale"] = rate

    def _set_rate(self, phase: Phase, iteration: int) -> None:
        warm = min(1.0, (self.done + 1) / 200)
        fall = 0.5 * (1 + math.cos(math.pi * iteration / phase.iterations))
        low, high = phase.final_learning_rate, phase.learning_rate
        for group in self.optimizer.param_groups:
            group["lr"] = group["scale"] * warm * (low + (high - low) * fall)

    def _save(self) -> None:
        state = {
            "done": self.done,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "config": asdict(self.config.network),
        }
        save_checkpoint(self.out / "checkpoint.pt", state)

    def _resume(self) -> None:
        path = self.out / "checkpoint.pt"
        if not path.is_file():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["config"] != asdict(self.config.network):
            raise ParameterError(f"{path}: another network; give a new --out folder")
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.done = int(state["done"])

    def _log(self, row: dict[str, Any]) -> None:
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def _to_input(image: Tensor) -> Tensor:
    return image.float().contiguous(memory_format=torch.channels_last)
