"""Checkpoint of a running fine-tuning; resuming gives identical results."""

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

_LAST, _INPUTS = "last.pt", "question.json"


@dataclass(frozen=True)
class ResumeFolder:
    """The checkpoint folder of a running fine-tuning, named by a digest of its inputs.

    Attributes:
        path: The folder, hidden in the folder of runs.
        inputs: Everything that determines the result.
    """

    path: Path
    inputs: Mapping[str, Any]

    @classmethod
    def of(cls, runs: Path, inputs: Mapping[str, Any]) -> "ResumeFolder":
        """The folder of a fine-tuning with these inputs."""
        line = json.dumps(inputs, sort_keys=True, default=str)
        return cls(runs / f".tuning-{hashlib.sha256(line.encode()).hexdigest()[:16]}", inputs)

    @contextmanager
    def locked(self, *, restart: bool, first: bool = True) -> Iterator[None]:
        """Locks the folder, and deletes it after success.

        It stays after an interruption or an error. Of several processes only the first one locks.

        Raises:
            RunError: Another process trains the same run.
            StorageError: The disk refuses.
        """
        if not first:
            yield
            return
        hint = "wait for it to end; another --seed is another run"
        with exclusive(self.path / _LAST, "training this run", RunError, hint):
            if restart:
                self._clear()
            write_json(self.path / _INPUTS, dict(self.inputs))
            yield
            with storage_errors(self.path):
                shutil.rmtree(self.path)

    def _clear(self) -> None:
        (self.path / _LAST).unlink(missing_ok=True)
        for folder in self.path.glob("best-*"):
            shutil.rmtree(folder)

    def last(self) -> dict[str, Any] | None:
        """The state saved after the last complete epoch, if there is one.

        Raises:
            RunError: It is damaged.
        """
        path = self.path / _LAST
        if not path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # an unpickler may raise anything on a damaged file
            raise RunError(
                "The checkpoint of an interrupted run with the same options cannot be read",
                where=path,
                found=first_line(error),
                hint="--restart trains from the start",
            ) from error
        return state

    def save(self, state: Mapping[str, Any], best: int) -> None:
        """Saves the state after an epoch; older best weights are deleted.

        Raises:
            StorageError: The disk refuses; the previous checkpoint stays valid.
        """
        with replacing(self.path / _LAST) as temporary:
            torch.save(dict(state), temporary)
        for folder in self.path.glob("best-*"):
            if folder != self.best(best):
                shutil.rmtree(folder)

    def best(self, epoch: int) -> Path:
        """The folder of the weights after an epoch."""
        return self.path / f"best-{epoch}"

    def save_best(
        self,
        epoch: int,
        head: Mapping[str, Tensor],
        backbones: Mapping[Modality, dict[str, Tensor]],
    ) -> None:
        """Saves the weights of the best epoch so far; the previous best stays until ``save``.

        Raises:
            StorageError: The disk refuses.
        """
        states = {FusionHead.file: head} | {tuned_file(m): state for m, state in backbones.items()}
        for name, state in states.items():
            with replacing(self.best(epoch) / name) as temporary:
                plain = {k: v.detach().cpu().contiguous() for k, v in state.items()}
                save_file(plain, temporary)
