"""Trains a head and its backbones epoch by epoch; resumes after an interruption."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from mvsa_pipe.devices import memory_errors
from mvsa_pipe.errors import RunError
from mvsa_pipe.finetune.checkpoint import ResumeFolder
from mvsa_pipe.finetune.live_features import LiveFeatures
from mvsa_pipe.finetune.processes import Processes
from mvsa_pipe.finetune.tunable_backbone import TunableBackbone
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.modality import Modality
from mvsa_pipe.progress import OnStep, Progress
from mvsa_pipe.tracking.listener import RunToTrack, Tracking
from mvsa_pipe.training.epochs import FitProgress, both
from mvsa_pipe.training.state import TrainState
from mvsa_pipe.training.step import Trainer

_LESS_MEMORY = (
    "lower --micro-batch (1 needs least memory; the batch size stays), or --max-tokens; add "
    "--checkpointing; or train fewer layers: --unfreeze last-2, or --lora"
)


@dataclass
class TuneState:
    """State of one fine-tuning.

    Attributes:
        train_state: The head, its history, its order of batches.
        features: Features computed by the backbones.
        tunables: The backbones; they are trained in place.
        trainer: The training step.
        resume_folder: Folder of the checkpoint.
        processes: The distributed processes.
        micro_batch: Posts per forward pass; 0 computes whole batches.
        progress: Notified of steps and epochs.
        tracked: The run in a tracker.
        tracking: Records epochs, too.
        resumed: Epochs that were trained before an interruption.
    """

    train_state: TrainState
    features: LiveFeatures
    tunables: dict[Modality, TunableBackbone]
    trainer: Trainer
    resume_folder: ResumeFolder
    processes: Processes
    micro_batch: int
    progress: Progress
    tracked: RunToTrack
    tracking: Tracking
    resumed: int = 0

    @property
    def head(self) -> FusionHead:
        """The head; it is trained in place."""
        return self.train_state.head

    @property
    def trained(self) -> dict[Modality, TunableBackbone]:
        """Backbones with trainable parameters."""
        return {m: tunable for m, tunable in self.tunables.items() if tunable.trained}

    def run(self) -> None:
        """Trains to the end; the best epoch's weights are in the resume folder.

        Raises:
            RunError: The checkpoint of an interrupted run is damaged.
            MvsaError: Training diverged, or there is not enough memory.
            StorageError: The disk refuses.
        """
        for generator in self._generators() if self.processes.rank else ():
            # otherwise all processes would draw the same masks for different posts
            generator.manual_seed(generator.initial_seed() + self.processes.rank)
        self._resume()
        train_state = self.train_state
        planned = [(train_state.data, train_state.spec)]
        shown = FitProgress(self.progress, planned, self.resumed)
        self.tracking.resumed(self.tracked, train_state.spec, train_state.history)
        train_state.on_epoch = both(shown.on_epoch, self.tracking.listener(lambda _: self.tracked))
        while train_state.should_continue:
            epoch, began = len(train_state.history), time.perf_counter()
            with memory_errors(self.trainer.device, _LESS_MEMORY):
                loss = self._epoch(epoch, shown.on_step)
                with self.trainer.averaged():
                    train_state.close_epoch(loss, time.perf_counter() - began)
            entry = train_state.history[-1]
            self.progress.say(
                f"epoch {epoch}: loss {loss:.4f}, on validation {entry['val_loss']:.4f}, "
                f"{train_state.options.select.value} "
                f"{100 * entry[f'val_{train_state.options.select.value}']:.1f} %"
            )
            self._save()

    def _epoch(self, epoch: int, on_step: OnStep) -> float:
        """One pass over the training posts; returns the mean loss over posts."""
        self.head.train()
        for tunable in self.tunables.values():
            tunable.epoch = epoch
        training_data, device = self.train_state.data, self.trainer.device
        whole = self.train_state.next_batches()
        parts = [self._parts(posts) for posts in whole]
        total = torch.zeros((), device=device)
        # Dropout inside backbones uses the global generators, which are seeded for each epoch.
        own = (self.train_state.options.seed * 1_000_003 + epoch) * self.processes.count
        seed = (own + self.processes.rank) % 2**63
        with _own_draws(seed, device):
            flat = (posts for batch in parts for posts, _ in batch)
            features = self.features.batches(flat, self.head.needs)
            for posts, batch in zip(whole, parts, strict=True):
                on_step()
                for part, share in batch:
                    labels = training_data.labels[part].to(device)
                    loss = self.trainer.accumulate(next(features).to(device), labels, share)
                    total += loss * share * len(posts)
                self.processes.add_up_gradients(self.trainer.parameters())
                self.trainer.move()
        return float(self.processes.added_up(total)) / len(training_data.train)

    def _parts(self, posts: Int[Tensor, " b"]) -> list[tuple[Int[Tensor, " p"], float]]:
        """This process's share of a batch, in parts of the micro-batch size.

        Each part has its share of the batch's class weights.
        """
        weights = self.trainer.class_weights.cpu()[self.train_state.data.labels[posts].cpu()]
        own = torch.arange(len(posts))[self.processes.rank :: self.processes.count]
        cut = torch.split(own, self.micro_batch or len(posts)) if len(own) else ()
        if len(cut) == 1 and len(own) == len(posts):
            return [(posts, 1.0)]
        return [(posts[c], float(weights[c].sum() / weights.sum())) for c in cut]

    def _resume(self) -> None:
        last = self.resume_folder.last()
        if last is None:
            return
        try:
            self._restore(last)
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            raise RunError(
                "The checkpoint of an interrupted run with the same options is incomplete",
                where=self.resume_folder.path,
                found=" ".join(str(error).split()) or type(error).__name__,
                hint="--restart trains from the start",
            ) from error
        self.progress.say(f"resuming after epoch {self.resumed - 1}")

    def _restore(self, last: Mapping[str, Any]) -> None:
        train_state = self.train_state
        train_state.history, train_state.best = list(last["history"]), int(last["best"])
        train_state.seconds = float(last["seconds"])
        self.resumed = len(train_state.history)
        for _ in train_state.history:
            train_state.next_batches()  # restores the state of the order of batches
        self.head.load_state_dict(last["head"])
        for modality, tunable in self.trained.items():
            tunable.network.load_state_dict(last["backbones"][modality.value])
        self.trainer.optimizer.load_state_dict(last["optimizer"])
        self.trainer.schedule.load_state_dict(last["schedule"])
        if self.trainer.average is not None:
            self.trainer.average.load_state_dict(last["average"])
        for generator, state in zip(self._generators(), last["draws"], strict=True):
            generator.set_state(state[self.processes.rank])

    def _save(self) -> None:
        """Saves everything that the next epoch depends on."""
        draws = [self.processes.gathered(g.get_state()) for g in self._generators()]
        if self.processes.rank:
            return
        train_state = self.train_state
        if train_state.best == len(train_state.history) - 1:
            with self.trainer.averaged():
                states = {m: tunable.state() for m, tunable in self.trained.items()}
                self.resume_folder.save_best(train_state.best, self.head.state_dict(), states)
        average = self.trainer.average
        state: dict[str, Any] = {
            "history": train_state.history,
            "best": train_state.best,
            "seconds": train_state.seconds,
            "head": self.head.state_dict(),
            "backbones": {m.value: t.network.state_dict() for m, t in self.trained.items()},
            "optimizer": self.trainer.optimizer.state_dict(),
            "schedule": self.trainer.schedule.state_dict(),
            "average": None if average is None else average.state_dict(),
            "draws": draws,
        }
        self.resume_folder.save(state, train_state.best)

    def _generators(self) -> list[torch.Generator]:
        """The generators of the head's dropout, each once."""
        own = {id(g): g for m in self.head.modules() if (g := getattr(m, "generator", None))}
        return list(own.values())


@contextmanager
def _own_draws(seed: int, device: torch.device) -> Iterator[None]:
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
