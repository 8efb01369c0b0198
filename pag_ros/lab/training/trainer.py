"""Multi-task training of a gated network, on one device or several.

What a step draws at random (densities, gate noise) is seeded by the run's seed, the process and the
iteration, and sample i is a pure function of the seed and i: a run that was killed goes on exactly
as if it had not been. The final share trains what is shipped: frozen normalisation statistics, a
nearly one-hot MultiPool and, for every budget, no gate noise.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Sampler

from pag_ros.errors import DatasetError, ModelError, ParameterError
from pag_ros.evaluation.samples import spread
from pag_ros.lab.model import PagNetwork, build_network
from pag_ros.lab.model.finite import require_finite
from pag_ros.lab.model.gating import MaskedGating
from pag_ros.lab.model.multipool import MultiPool
from pag_ros.lab.model.network import canonical_normals
from pag_ros.lab.model.resnet import new_parameters
from pag_ros.lab.training.arithmetic import fast_arithmetic
from pag_ros.lab.training.bar import Bar
from pag_ros.lab.training.best import Best, is_better
from pag_ros.lab.training.checkpoint import (
    initialize_from,
    read_checkpoint,
    rounded,
    same_network,
    save_checkpoint,
    save_weights,
)
from pag_ros.lab.training.config import Phase, TrainConfig
from pag_ros.lab.training.distillation import distillation_losses
from pag_ros.lab.training.guide import Guide
from pag_ros.lab.training.modes import Pass, cooled, is_final, make_mode
from pag_ros.lab.training.pacing import Pacing
from pag_ros.lab.training.processes import (
    ShardedSampler,
    current_processes,
)
from pag_ros.lab.training.refusals import RefusedSteps, find_spoilt
from pag_ros.lab.training.resident import ResidentRooms
from pag_ros.lab.training.rooms import EndlessSampler, MixedSampler, Rooms
from pag_ros.lab.training.scales import at_scale, drawn_scale
from pag_ros.lab.training.statistics import recalibrate, standardise_gates
from pag_ros.lab.training.tasks import (
    known_heads,
    task_losses,
    task_scores,
)
from pag_ros.reading import reading
from pag_ros.writing import write_text

__all__ = ["Phase", "TrainConfig", "Trainer"]

_BATCHES_FOR_GATES = 16

Scores = dict[str, dict[str, float]]


class Trainer:
    """Runs a `TrainConfig`, writes checkpoints and a log, resumes where it was killed.

    Within `process_group`, every process makes one; the first one alone writes.

    Args:
        config: what to do.
        train_folders, validation_folders: labelled datasets, see `Rooms`.
        out: folder for checkpoint.pt (latest state), log.jsonl and network.safetensors (the
            averaged network, at the end).
        pretrained: ImageNet weights of the encoder, or None to start it at random.
        initialize: trained weights to start from, see `initialize_from`, or None.
        on_validation: called with the log after each validation.
        stop: asked after each step; the run ends, as if it were complete, once it says so.

    Attributes:
        network, average: what is trained, and its moving average.
        pacing: how far the run is.
        best: what has validated best, where the configuration wants that kept.
        new_heads: those that `initialize` had no weights for.

    Raises:
        ParameterError, ModelError, DatasetError: weights and configuration do not fit.
    """

    def __init__(
        self,
        config: TrainConfig,
        train_folders: Sequence[Path | str],
        validation_folders: Sequence[Path | str],
        out: Path,
        pretrained: Path | None,
        initialize: Path | None = None,
        on_validation: Callable[[Path], None] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.config = config
        self.folders = train_folders
        self.validation_folders = validation_folders
        self.out = out
        self.on_validation = on_validation
        self._stop = stop
        self.processes = current_processes()
        self.device = self.processes.device
        torch.manual_seed(config.seed)
        self.network = build_network(config.network)
        if pretrained is not None:
            self.network.encoder.load_pretrained(pretrained)
        self.new_heads = () if initialize is None else initialize_from(self.network, initialize)
        if initialize is None and (config.guide == "start" or config.start_share > 0.0):
            what = "guide: start" if config.guide == "start" else "start_share"
            raise ParameterError(f"{what} needs weights to start from (--initialize)")
        state = self.network.state_dict() if config.start_share > 0.0 else {}
        self._start = {name: value.clone() for name, value in state.items()}
        self.mode = make_mode(config, len(self.network.gated))
        self.network.to(self.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = get_ema_multi_avg_fn(config.average_decay)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(self.network, multi_avg_fn=average, use_buffers=True)
        self._guide = self._make_guide()
        self.optimizer = torch.optim.AdamW(self._parameter_groups(), weight_decay=0.01)
        self.pacing = Pacing(config)
        self.best = Best()
        self._class_weight = (
            torch.tensor(config.class_weights, device=self.device) if config.class_weights else None
        )
        self._parallel: nn.Module = self.network
        self._recalibrated_at = -1
        self._resident: ResidentRooms | None = None
        self._refused = RefusedSteps()

    def run(self) -> PagNetwork:
        """Train to the end; returns the averaged network in evaluation mode.

        Raises:
            ParameterError, ModelError, DatasetError: settings, files and data do not fit.
            TrainingError: one step after the other had to be taken back.
        """
        self._check_data()
        if self.processes.writes:
            self._make_folder()
        self.processes.wait()
        self.pacing.begin()
        self._resume()
        if self.config.keeps_best and self.pacing.done == 0:
            self._check(self.config.phases[0].size)
        for number, phase in enumerate(self.config.phases):
            if self.pacing.is_in(number) and not self._is_over():
                self._run_phase(phase, number)
        self._finish()
        return self._averaged()

    def _check_data(self) -> None:
        """What would else come up in a later phase, or at the first validation."""
        for phase in self.config.phases:
            self.processes.share_of(phase.batch)
        classes, size = self._classes(), self.config.phases[-1].size
        rooms = Rooms(self.folders, size, train=True, classes=classes)
        mixture = self.config.mixture
        if mixture and len(mixture) != len(rooms.lengths):
            raise ParameterError(f"mixture: {len(mixture)} for {len(rooms.lengths)} datasets")
        Rooms(self.validation_folders, size, train=False, classes=classes)

    def _make_folder(self) -> None:
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            (self.out / "log.jsonl").open("a").close()
        except OSError as error:
            raise ParameterError(
                f"{self.out}: cannot be written to ({error.strerror}); give another --out folder"
            ) from error

    @torch.no_grad()
    def validate(self, size: tuple[int, int], network: PagNetwork | None = None) -> Scores:
        """Losses and quick scores on validation frames.

        Args:
            size: (width, height) of the frames.
            network: in evaluation mode; None = the averaged one.

        Returns:
            For each gating of the mode ("1.00", "0.50", "0.30" or "threshold"): the mean of every
            loss and score over the frames that have truth for it, and the realised "density".
            A head without truth has the distance from the start as its loss, if that guides.
        """
        rooms = Rooms(self.validation_folders, size, train=False, classes=self._classes())
        network = network or self._averaged()
        gatings = self.mode.validation(self.device)
        values: dict[str, dict[str, list[float]]] = {name: {} for name in gatings}
        for i in sorted(spread(len(rooms), self.config.validation_frames)):
            frame = self._frame(rooms[i])
            # The average would be judged by itself.
            taught = self._taught(frame) if self.config.guide == "start" else {}
            for name, make_gating in gatings.items():
                for key, value in self._score(network, frame, taught, make_gating()).items():
                    values[name].setdefault(key, []).append(value)
        return {
            name: {key: sum(each) / len(each) for key, each in of_gating.items()}
            for name, of_gating in values.items()
        }

    def _score(
        self,
        network: PagNetwork,
        batch: dict[str, Tensor],
        taught: dict[str, Tensor],
        gating: MaskedGating,
    ) -> dict[str, float]:
        outputs = network(_to_input(batch["image"]), gating)
        known = known_heads(batch)
        losses = task_losses(outputs, batch, self._class_weight)
        terms = {name: term for name, term in losses.items() if name in known}
        terms.update(self._guide_losses(outputs, taught, batch))
        terms.update(task_scores(outputs, batch))
        return {**{k: float(v) for k, v in terms.items()}, "density": _density(gating)}

    def _run_phase(self, phase: Phase, number: int) -> None:
        pacing = self.pacing
        self._set_encoder(phase.encoder_rate)
        self._parallel = self._shared_network()
        loader = self._loader(
            phase, self.config.seed + number, pacing.done - pacing.start_of(number)
        )
        began, seen = time.monotonic(), pacing.done
        sums: dict[str, float] = {}
        with contextlib.closing(Bar(phase, number, pacing, self.processes.writes)) as bar:
            for batch in loader:
                self._set_rate(phase, number)
                for name, value in self._step(batch).items():
                    sums[name] = sums.get(name, 0.0) + value
                pacing.step()
                check = pacing.is_check_due()
                ends = not pacing.is_in(number) or self._is_over()
                if ends or check or pacing.done % self.config.log_every == 0:
                    count = pacing.done - seen
                    row = {name: value / count for name, value in sums.items()}
                    row["seconds"] = (time.monotonic() - began) / count
                    self._log({"iteration": pacing.done, "train": row})
                    bar.show(row)
                    began, seen, sums = time.monotonic(), pacing.done, {}
                bar.update()
                if check:
                    self._check(phase.size)
                if ends or self._is_over():
                    return

    def _is_over(self) -> bool:
        """Whether the run ends before its time: someone says so, or it gets no better."""
        patience = self.config.patience
        return self._stop() or bool(patience and self.best.misses >= patience)

    def _loader(self, phase: Phase, seed: int, start: int) -> Iterable[dict[str, Tensor]]:
        """Batches without end, from iteration `start` of the phase on."""
        config, processes = self.config, self.processes
        rooms = Rooms(self.folders, phase.size, True, seed, self._classes(), config.flaws)
        keys: Sampler[int] = EndlessSampler(len(rooms), seed, start * phase.batch)
        if config.mixture:
            keys = MixedSampler(rooms.lengths, config.mixture, seed, start * phase.batch)
        mine = ShardedSampler(keys, processes.rank, processes.count)
        batch = processes.share_of(phase.batch)
        if config.resident:
            if self._resident is None or self._resident.size != phase.size:
                self._resident = ResidentRooms(rooms, self.device, config.workers)
            return self._resident.batches(mine, batch, (seed, processes.rank), start)
        return DataLoader(
            rooms,
            batch_size=batch,
            sampler=mine,
            num_workers=config.workers,
            prefetch_factor=6 if config.workers else None,
        )

    def _classes(self) -> tuple[str, ...] | None:
        """Names of the label ids, of all datasets alike; None where nobody names them."""
        config = self.config.network
        names = config.class_names or Rooms(self.folders, (1, 1), train=True).classes
        if names and "segmentation" in config.heads and len(names) != config.classes:
            raise ParameterError(
                f"network.classes is {config.classes} and the data have {len(names)} classes"
            )
        return names or None

    def _shared_network(self) -> nn.Module:
        """The network, its gradients averaged over the processes; made anew for each phase.

        The wrapper takes note only once of which parameters are trained.
        """
        if self.processes.count == 1:
            return self.network
        with warnings.catch_warnings():
            # Newer releases have another name for the option, which older ones do not know.
            warnings.simplefilter("ignore", FutureWarning)
            return DistributedDataParallel(self.network, broadcast_buffers=False)

    def _step(self, batch: dict[str, Tensor]) -> dict[str, float]:
        self._seed_step()
        self._set_mode()
        scale = drawn_scale(self.config, self.pacing.done)
        batch = {name: value.to(self.device) for name, value in batch.items()}
        batch = self._as_learned(at_scale(batch, scale, self.config.size_exponent))
        progress = self.pacing.progress
        passes = self.mode.passes(len(batch["image"]), progress, self.device)
        self.optimizer.zero_grad()
        statistics = [buffer.clone() for buffer in self.network.buffers()]
        teacher: dict[str, Tensor] = {}
        row: dict[str, float] = {}
        for number, each in enumerate(passes):
            with self._gradients_shared(number == len(passes) - 1):
                outputs, terms = self._run_pass(each, batch, teacher)
            teacher = teacher or {k: v.detach().float() for k, v in outputs.items()}
            for name, value in terms.items():
                row[name] = row.get(name, 0.0) + value
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.processes.average_statistics(self.network)
        spoilt = find_spoilt(self.network)
        if spoilt:
            # One infinite variance would stay in its running average for good.
            for buffer, before in zip(self.network.buffers(), statistics, strict=True):
                buffer.copy_(before)
        else:
            self.optimizer.step()
        self._refused.count(spoilt, self.pacing.done + 1)
        self.average.update_parameters(self.network)
        return {**row, "progress": progress, "refused": float(bool(spoilt))}

    def _run_pass(
        self, each: Pass, batch: dict[str, Tensor], teacher: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Forward and backward; the outputs, and the terms of the loss for the log."""
        with fast_arithmetic(self.device):
            outputs = self._parallel(_to_input(batch["image"]), each.gating)
        if each.student:
            terms = distillation_losses(outputs, teacher)
        else:
            terms = task_losses(outputs, batch, self._class_weight)
            for name, term in self._guide_losses(outputs, self._taught(batch), batch).items():
                terms[name] = terms[name] + term
        loss = torch.stack([self.config.weights[n] * term for n, term in terms.items()]).sum()
        row = {n: term.item() for n, term in terms.items()}
        if each.student:
            row = {"distillation": sum(row.values())}
        rate = self.mode.rate_loss(each.gating)
        if rate is not None:
            loss = loss + rate
            row.update(rate=rate.item(), density=_density(each.gating))
        loss.backward()  # type: ignore[no-untyped-call]
        return outputs, row

    def _make_guide(self) -> Guide | None:
        heads = self.config.network.heads
        if self.config.guide == "start":
            return Guide(copy.deepcopy(self.network).eval(), heads, holds=True)
        if self.config.guide == "average":
            return Guide(self._averaged(), heads, holds=False)
        return None

    def _taught(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The guide's outputs of the heads that some sample has no truth for; none without it."""
        return {} if self._guide is None else self._guide.outputs(batch)

    def _guide_losses(
        self, outputs: dict[str, Tensor], taught: dict[str, Tensor], batch: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Head -> weighted distance from the guide, over the samples that lack its truth."""
        if self._guide is None:
            return {}
        weights = self.config.guide_weights
        losses = self._guide.losses(outputs, taught, batch)
        return {head: weights.get(head, 1.0) * loss for head, loss in losses.items()}

    def _gradients_shared(self, last: bool) -> AbstractContextManager[None]:
        """The processes exchange gradients once a step, after its last pass."""
        if last or not isinstance(self._parallel, DistributedDataParallel):
            return contextlib.nullcontext()
        silent: AbstractContextManager[None] = self._parallel.no_sync()
        return silent

    def _check(self, size: tuple[int, int]) -> None:
        if self.processes.writes:
            scores = self.validate(size)
            row = {"iteration": self.pacing.done, "validation": scores}
            if self.config.keeps_best:
                row["best"] = self.best.offer(self._averaged(), self._loss(scores))
            self._log(row)
            self._save()
            if self.on_validation is not None:
                self.on_validation(self.out / "log.jsonl")
        self.processes.wait()

    def _finish(self) -> None:
        """Recalibrate the averaged network, or take the best one, and write what travels."""
        if self.processes.writes:
            self.best.restore_into(self._averaged())
            self._draw_back(self._averaged())
            if self.config.recalibrate and self._recalibrated_at != self.pacing.done:
                self._recalibrate(self.config.phases[-1])
            save_weights(self._shipped(), self.out / "network.safetensors")
        self.processes.wait()
        self.processes.copy_statistics(self.average)

    def _draw_back(self, network: PagNetwork) -> None:
        """Mix the start's weights in, as far as the configuration wants it."""
        weights = network.state_dict()
        for name, start in self._start.items():
            if start.is_floating_point():
                weights[name].lerp_(start.to(weights[name].device), self.config.start_share)

    def _recalibrate(self, phase: Phase) -> None:
        """Statistics from training data; the running ones stay where they validate better.

        The final share trains the weights for the running ones, so it may.
        """
        network = self._averaged()
        before = {name: value.clone() for name, value in network.state_dict().items()}
        scores = {False: self.validate(phase.size)}
        torch.manual_seed(self.config.seed)
        batches = islice(self._loader(phase, self.config.seed, 0), self.config.recalibrate)
        recalibrate(
            network,
            (_to_input(batch["image"].to(self.device)) for batch in batches),
            lambda count: self.mode.shipped(count, self.device),
            keep=[network.encoder] if self.config.encoder_statistics == "frozen" else [],
        )
        scores[True] = self.validate(phase.size)
        better = is_better(self._loss(scores[True]), self._loss(scores[False]))
        if not better:
            network.load_state_dict(before)
        self._recalibrated_at = self.pacing.done
        row = {"iteration": self.pacing.done, "recalibrated": better, "validation": scores[better]}
        self._log(row)
        self._save()

    def _shipped(self) -> PagNetwork:
        """A copy of the averaged network, the scores of its gates in their unit."""
        network = copy.deepcopy(self._averaged())
        network.number_blocks()
        if self.mode.ranks:
            phase, seed = self.config.phases[-1], self.config.seed
            batches = islice(self._loader(phase, seed, 0), _BATCHES_FOR_GATES)
            standardise_gates(
                network,
                (_to_input(batch["image"].to(self.device)) for batch in batches),
                lambda count: self.mode.shipped(count, self.device),
            )
        return rounded(network) if self.config.half else network

    def _loss(self, scores: Scores) -> float:
        """The weighted sum of the losses, summed over the gatings."""
        return sum(
            weight * row.get(head, 0.0)
            for row in scores.values()
            for head, weight in self.config.weights.items()
        )

    def _averaged(self) -> PagNetwork:
        return cast(PagNetwork, self.average.module).eval()

    def _seed_step(self) -> None:
        entropy = (self.config.seed, self.processes.rank, self.pacing.done)
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))

    def _set_mode(self) -> None:
        """Train, but a pretrained encoder's (and at the end all) statistics stay fixed."""
        self.network.train()
        progress, share = self.pacing.progress, self.config.final_share
        final = is_final(progress, share)
        if final or self.config.encoder_statistics == "frozen":
            frozen: nn.Module = self.network if final else self.network.encoder
            for module in frozen.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        temperature = cooled(self.config.multipool_temperature, progress, share)
        for module in self.network.modules():
            if isinstance(module, MultiPool):
                module.temperature = temperature

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """New layers at the full learning rate, the pretrained ones at a share of it."""
        encoder = self.network.encoder
        encoder.freeze(self.config.frozen_blocks)
        fresh = {id(p) for p in new_parameters(encoder)}
        published = [p for p in encoder.parameters() if id(p) not in fresh]
        known = {id(p) for p in published}
        new = [p for p in self.network.parameters() if id(p) not in known]
        pretrained = [p for p in published if p.requires_grad]
        return [{"params": new, "scale": 1.0}, {"params": pretrained, "scale": 0.0}]

    def _set_encoder(self, rate: float) -> None:
        self.network.encoder.requires_grad_(rate > 0)
        self.network.encoder.freeze(self.config.frozen_blocks)
        for parameter in new_parameters(self.network.encoder):
            parameter.requires_grad_(True)
        self.optimizer.param_groups[1]["scale"] = rate

    def _set_rate(self, phase: Phase, number: int) -> None:
        warm = min(1.0, (self.pacing.done + 1) / max(1, self.config.warm_up))
        fall = 0.5 * (1 + math.cos(math.pi * self.pacing.progress_in(number)))
        low, high = phase.final_learning_rate, phase.learning_rate
        for group in self.optimizer.param_groups:
            group["lr"] = group["scale"] * warm * (low + (high - low) * fall)

    def _save(self) -> None:
        state = {
            "done": self.pacing.done,
            "seconds": self.pacing.seconds,
            "recalibrated_at": self._recalibrated_at,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "config": asdict(self.config.network),
        }
        if self.config.keeps_best:
            state["best"] = self.best.state()
        save_checkpoint(self.out / "checkpoint.pt", state)

    def _resume(self) -> None:
        path = self.out / "checkpoint.pt"
        if path.is_file():
            self._restore(path, read_checkpoint(path, self.device))
        if self.processes.writes:
            _forget_rows_after(self.out / "log.jsonl", self.pacing.done)

    def _restore(self, path: Path, state: dict[str, Any]) -> None:
        remedy = "give a new --out folder, or go on with the settings it was begun with"
        with reading(path, "a checkpoint that fits this run", ModelError, remedy):
            if not same_network(self.config.network, state["config"]):
                raise ParameterError(f"{path}: another network; give a new --out folder")
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.pacing.resume(int(state["done"]), float(state.get("seconds", 0.0)))
            if self.config.keeps_best:
                self.best.load(state["best"])
            self._recalibrated_at = int(state.get("recalibrated_at", -1))
        require_finite(self.network.state_dict(), path)
        require_finite(self.average.state_dict(), path)

    def _log(self, row: dict[str, Any]) -> None:
        if not self.processes.writes:
            return
        # Appended: what a kill tears off, `_forget_rows_after` takes away.
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def _frame(self, sample: dict[str, Tensor]) -> dict[str, Tensor]:
        return self._as_learned({k: value[None].to(self.device) for k, value in sample.items()})

    def _as_learned(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A batch, its true normals as the network is to see them."""
        if not self.config.network.canonical_normals:
            return batch
        width = batch["image"].shape[3]
        normals = canonical_normals(batch["normals"], batch["focal_px"], width)
        return {**batch, "normals": normals}


def _forget_rows_after(log: Path, iteration: int) -> None:
    """A run that goes on from a checkpoint writes the rows after it again."""
    if not log.is_file():
        return
    remedy = "delete it to go on without it"
    with reading(log, "the log of a training run", DatasetError, remedy):
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
        # A kill may have cut off the last line.
        whole = [line for line in lines if line.endswith("\n")]
        kept = [line for line in whole if json.loads(line)["iteration"] <= iteration]
    write_text(log, "".join(kept))


def _density(gating: MaskedGating) -> float:
    densities = gating.densities()
    return sum(densities) / len(densities) if densities else 1.0


def _to_input(image: Tensor) -> Tensor:
    return image.float().contiguous(memory_format=torch.channels_last)
