"""Run a comparison: fine-tune and score methods, one stored result each, resumable."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pag_ros.errors import ParameterError
from pag_ros.lab.baselines.finetune import Recipe, finetune
from pag_ros.lab.baselines.methods import METHODS, Method, make_method
from pag_ros.lab.baselines.scoring import score
from pag_ros.lab.results.runs import FULL, RunResult, load_run, save_run
from pag_ros.lab.training.checkpoint import load_checkpoint
from pag_ros.lab.training.rooms import Rooms


@dataclass(frozen=True)
class TrainingJob:
    """One training, and the budgets at which its result is scored."""

    method: str
    seed: int
    budgets: tuple[float, ...]


class Comparison:
    """Methods x budgets x seeds from one starting network.

    Args:
        init: file of the starting weights, see `load_checkpoint`.
        train_folders, validation_folders: rendered datasets.
        recipe: of every method; its seed is replaced by each of the seeds.
        out: folder of the results.
        limit: validation frames, None for all.

    Attributes:
        network: the starting one.

    Raises:
        DatasetError: a file or folder is missing or damaged.
    """

    def __init__(
        self,
        init: Path,
        train_folders: list[Path],
        validation_folders: list[Path],
        recipe: Recipe,
        out: Path,
        limit: int | None = None,
    ) -> None:
        self.network = load_checkpoint(init)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.train_folders = train_folders
        self.validation_folders = validation_folders
        self.recipe = recipe
        self.out = out
        self.limit = limit
        self.settings = self._settings(init)

    def jobs(
        self, methods: Sequence[str], budgets: Sequence[float], seeds: Sequence[int]
    ) -> list[TrainingJob]:
        """What is still to do, in the order of seeds, budgets and methods.

        Raises:
            ParameterError: an unknown method, or a stored result was made with other settings.
            DatasetError: a stored result is damaged.
        """
        if unknown := set(methods) - set(METHODS):
            raise ParameterError(
                f"no method {sorted(unknown)[0]!r}; there are {', '.join(METHODS)}"
            )
        wanted = []
        for seed in seeds:
            ordered = sorted(methods, key=list(METHODS).index)
            shared = [m for m in ordered if METHODS[m].every_budget or m == FULL]
            wanted += [TrainingJob(m, seed, _shared_budgets(m, budgets)) for m in shared]
            alone = [m for m in ordered if m not in shared]
            wanted += [TrainingJob(m, seed, (budget,)) for budget in budgets for m in alone]
        return [job for job in wanted if not all(self._is_done(job, b) for b in job.budgets)]

    def run(self, job: TrainingJob, progress: Callable[[], object] = lambda: None) -> None:
        """Train, score and store one job; `progress` is called after every training iteration."""
        recipe = replace(self.recipe, seed=job.seed)
        method = make_method(job.method, self.network, job.budgets[0], recipe.size, job.seed)
        for module in (method.network, method.extra):
            if module is not None:
                module.to(self.device)
        method.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        finetune(method, self.train_folders, recipe, progress)
        for budget in job.budgets:
            self._score(method, job, budget)

    def _score(self, method: Method, job: TrainingJob, budget: float) -> None:
        outcome = score(method, budget, self.validation_folders, self.recipe.size, self.limit)
        run = RunResult(
            method=job.method,
            budget=budget,
            seed=job.seed,
            scores=outcome.scores,
            macs=outcome.macs,
            realised_budget=outcome.realised_budget,
            settings={**self.settings, "input": list(method.size)},
        )
        save_run(run, self.out)

    def _is_done(self, job: TrainingJob, budget: float) -> bool:
        path = self.out / RunResult(job.method, budget, job.seed, {}, {}, 0.0, {}).file_name
        if not path.is_file():
            return False
        stored = load_run(path).settings
        for name, value in self.settings.items():
            if stored.get(name) != value:
                raise ParameterError(
                    f"{path}: made with another {name} ({stored.get(name)!r}, now {value!r}); "
                    "give another --out folder"
                )
        return True

    def _settings(self, init: Path) -> dict[str, Any]:
        size, recipe = self.recipe.size, self.recipe
        validation = len(Rooms(self.validation_folders, size, train=False))
        return {
            "init_sha256": hashlib.sha256(init.read_bytes()).hexdigest(),
            "size": list(size),
            "iterations": recipe.iterations,
            "batch": recipe.batch,
            "learning_rate": recipe.learning_rate,
            "encoder_rate": recipe.encoder_rate,
            "train_frames": len(Rooms(self.train_folders, size, train=True)),
            "validation_frames": min(validation, self.limit or validation),
        }


def _shared_budgets(method: str, budgets: Sequence[float]) -> tuple[float, ...]:
    """Return the budgets of a training that serves them all, 1 first; `FULL` has no other."""
    if method == FULL:
        return (1.0,)
    return (1.0, *(budget for budget in budgets if budget != 1.0))
