"""A training step over features in memory, against a minimal loop and against a DataLoader.

The minimal loop is what one would write by hand for the same head, batches and fused AdamW. The
DataLoader reads the same posts from HDF5 one by one and pads them, as published code does. Times
are those that the process computed, on one thread.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import features
import h5py
import numpy as np
import torch
from record import cpu_seconds_of, summary, write_record
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from mvsa_pipe.devices import Precision, cpu_threads
from mvsa_pipe.features.batch import FeatureBatch, Field
from mvsa_pipe.features.resident import ResidentFeatures
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.build import build_head
from mvsa_pipe.training.data import TrainingData
from mvsa_pipe.training.options import TrainingOptions
from mvsa_pipe.training.step import make_trainer

REPEATS, BATCH = 5, 32
POSTS = {"native-cat": 800, "basic": 800, "ote": 800, "dual-attention": 160}
CPU = torch.device("cpu")


class PostsInHdf5(Dataset[dict[str, Tensor]]):
    """One post a time from an HDF5 file, as a Dataset is usually written."""

    def __init__(self, path: Path, needs: frozenset[Field], labels: Tensor) -> None:
        self._file, self._needs, self._labels = h5py.File(path), needs, labels
        self._offsets = self._file["offsets"][:]

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, post: int) -> dict[str, Tensor]:
        row = {"label": self._labels[post]}
        for need in self._needs:
            rows: int | slice = post
            if need is Field.TEXT_HIDDEN:
                rows = slice(self._offsets[post], self._offsets[post + 1])
            row[need.value] = torch.from_numpy(np.asarray(self._file[need.value][rows]))
        return row


def collate(rows: list[dict[str, Tensor]]) -> tuple[FeatureBatch, Tensor]:
    """Posts padded to a batch."""
    values: dict[str, Tensor] = {}
    for name in rows[0].keys() - {"label"}:
        each = [row[name] for row in rows]
        if name == Field.TEXT_HIDDEN.value:
            values[name] = torch.nn.utils.rnn.pad_sequence(each, batch_first=True)
            lengths = torch.tensor([len(states) for states in each])
            values["text_mask"] = torch.arange(int(lengths.max())) < lengths[:, None]
        else:
            values[name] = torch.stack(each)
    return FeatureBatch(**values), torch.stack([row["label"] for row in rows])


def main() -> None:
    """Measures all three in turns, a head at a time, on one thread."""
    results: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder, cpu_threads(1):
        for name, posts in POSTS.items():
            data = features.draw(posts)
            path = _written(data, Path(folder) / f"{posts}.h5")
            results[name] = _measure(name, data, path)
    configuration = {
        "batch": BATCH,
        "repeats": REPEATS,
        "posts": POSTS,
        "threads": 1,
        "clock": "CPU time of the process",
    }
    write_record("step", configuration, results)


def _measure(name: str, data: TrainingData, path: Path) -> dict[str, object]:
    batches = torch.randperm(len(data.labels)).split(BATCH)
    ways = {
        "ours": partial(ours, data, batches, *_stepper(name, data, clip=1.0)),
        "ours_unclipped": partial(ours, data, batches, *_stepper(name, data, clip=0.0)),
        "minimal": partial(minimal, data, batches, *_plain(name, data)),
        "loader": partial(loader, path, data, *_stepper(name, data, clip=1.0)),
    }
    for way in ways.values():
        way()  # warm
    rounds = [{key: cpu_seconds_of(way) for key, way in ways.items()} for _ in range(REPEATS)]
    seconds = {key: summary([row[key] for row in rounds]) for key in ways}
    return {
        "parameters": sum(p.numel() for p in _plain(name, data)[0].parameters()),
        "epoch_seconds": seconds,
        "over_minimal": summary([row["ours_unclipped"] / row["minimal"] for row in rounds]),
        "over_minimal_with_clipping": summary([row["ours"] / row["minimal"] for row in rounds]),
        "loader_over_ours": summary([row["loader"] / row["ours"] for row in rounds]),
    }


def _plain(name: str, data: TrainingData) -> tuple[FusionHead, torch.optim.Optimizer]:
    head = build_head(name, data.features.sizes, 0).train()
    return head, torch.optim.AdamW(head.parameters(), lr=5e-4, fused=True)


def _stepper(
    name: str, data: TrainingData, clip: float
) -> tuple[FusionHead, Callable[[FeatureBatch, Tensor], Tensor]]:
    head = build_head(name, data.features.sizes, 0).train()
    options = TrainingOptions(clip_norm=clip)
    trainer = make_trainer(head, options, torch.ones(3), 10_000, Precision.FLOAT32, CPU)
    return head, trainer.step


def ours(
    data: TrainingData,
    batches: tuple[Tensor, ...],
    head: FusionHead,
    step: Callable[[FeatureBatch, Tensor], Tensor],
) -> None:
    """An epoch of this project."""
    for posts, batch in zip(batches, data.features.batches(batches, head.needs), strict=True):
        step(batch, data.labels[posts])


def minimal(
    data: TrainingData,
    batches: tuple[Tensor, ...],
    head: FusionHead,
    optimizer: torch.optim.Optimizer,
) -> None:
    """An epoch as written by hand: select, forward, loss, backward, step."""
    held = data.features
    assert isinstance(held, ResidentFeatures)
    ragged = held.text_hidden
    assert ragged is not None
    for posts in batches:
        values: dict[str, Tensor] = {}
        for need in head.needs:
            if need is Field.TEXT_HIDDEN:
                longest = int(ragged.lengths[posts].max())
                values[need.value], values["text_mask"] = ragged.padded(posts, longest)
            else:
                values[need.value] = getattr(held, need.value).index_select(0, posts)
        loss = F.cross_entropy(head(FeatureBatch(**values)), data.labels[posts])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def loader(
    path: Path,
    data: TrainingData,
    head: FusionHead,
    step: Callable[[FeatureBatch, Tensor], Tensor],
) -> None:
    """An epoch of the same step, fed post by post from HDF5."""
    posts = PostsInHdf5(path, head.needs, data.labels)
    for batch, labels in DataLoader(posts, BATCH, shuffle=True, collate_fn=collate):
        step(batch, labels)


def _written(data: TrainingData, path: Path) -> Path:
    held = data.features
    assert isinstance(held, ResidentFeatures)
    assert held.text_hidden is not None
    with h5py.File(path, "w") as file:
        file["offsets"] = torch.cat(
            [held.text_hidden.offsets, held.text_hidden.lengths.sum()[None]]
        ).numpy()
        file[Field.TEXT_HIDDEN.value] = held.text_hidden.states.numpy()
        for field in (Field.TEXT_POOLED, Field.IMAGE_HIDDEN, Field.IMAGE_POOLED):
            file[field.value] = getattr(held, field.value).numpy()
    return path


if __name__ == "__main__":
    main()
