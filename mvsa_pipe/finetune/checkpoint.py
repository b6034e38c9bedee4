"""What a fine-tuning under way leaves on disk: enough to go on to the very same result."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from mvsa_pipe.backbones.weights import first_line
from mvsa_pipe.disk import storage_errors
from mvsa_pipe.durable import replacing, write_json
from mvsa_pipe.errors import RunError
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.locks import exclusive
from mvsa_pipe.modality import Modality
from mvsa_pipe.runs.layout import tuned_file

_LAST, _QUESTION = "last.pt", "question.json"


@dataclass(frozen=True)
class ResumeFolder:
    """The folder of one fine-tuning under way; the same options find it again.

    Attributes:
        path: The folder, hidden among the runs.
        question: Everything that decides the result.
    """

    path: Path
    question: Mapping[str, Any]

    @classmethod
    def of(cls, runs: Path, question: Mapping[str, Any]) -> "ResumeFolder":
        """The workplace of everything that decides a result."""
        line = json.dumps(question, sort_keys=True, default=str)
        return cls(runs / f".tuning-{hashlib.sha256(line.encode()).hexdigest()[:16]}", question)

    @contextmanager
    def held(self, *, restart: bool, watch: bool = True) -> Iterator[None]:
        """Keeps others out, and takes the folder away when the work was done.

        An interruption or an error leaves it. Of processes at one work one keeps ``watch``.

        Raises:
            RunError: Another process is at the same work.
            StorageError: The disk refuses.
        """
        if not watch:
            yield
            return
        hint = "wait for it to end; another --seed is another run"
        with exclusive(self.path / _LAST, "training this very run", RunError, hint):
            if restart:
                self._clear()
            write_json(self.path / _QUESTION, dict(self.question))
            yield
            with storage_errors(self.path):
                shutil.rmtree(self.path)

    def _clear(self) -> None:
        (self.path / _LAST).unlink(missing_ok=True)
        for folder in self.path.glob("best-*"):
            shutil.rmtree(folder)

    def last(self) -> dict[str, Any] | None:
        """What was saved behind the last whole epoch, if there was one.

        Raises:
            RunError: It is damaged.
        """
        path = self.path / _LAST
        if not path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever an unpickler meets in a damaged file
            raise RunError(
                "What an interrupted run of the same options left cannot be read",
                where=path,
                found=first_line(error),
                hint="--restart begins anew",
            ) from error
        return state

    def save(self, state: Mapping[str, Any], best: int) -> None:
        """Keeps the state behind an epoch; from then on only that epoch's best is needed.

        Raises:
            StorageError: The disk refuses; what was saved before still holds.
        """
        with replacing(self.path / _LAST) as temporary:
            torch.save(dict(state), temporary)
        for folder in self.path.glob("best-*"):
            if folder != self.best(best):
                shutil.rmtree(folder)

    def best(self, epoch: int) -> Path:
        """The folder of the weights that an epoch left, the best so far."""
        return self.path / f"best-{epoch}"

    def save_best(
        self,
        epoch: int,
        head: Mapping[str, Tensor],
        backbones: Mapping[Modality, dict[str, Tensor]],
    ) -> None:
        """Keeps the weights of the best epoch so far; the best before it stays until ``save``.

        Raises:
            StorageError: The disk refuses.
        """
        states = {FusionHead.file: head} | {tuned_file(m): state for m, state in backbones.items()}
        for name, state in states.items():
            with replacing(self.best(epoch) / name) as temporary:
                plain = {k: v.detach().cpu().contiguous() for k, v in state.items()}
                save_file(plain, temporary)
