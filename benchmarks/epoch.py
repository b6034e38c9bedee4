"""One epoch over cached features against one that recomputes them: same head, same steps.

Both run every post once through the same training step; the recomputing epoch decodes, tokenises
and runs the frozen backbones for every batch, as a pipeline without a cache does.
"""

import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import material
import torch
from record import seconds_of, summary, write_record

from mvsa_pipe.cache.layout import Rows
from mvsa_pipe.devices import Precision, resolve_device
from mvsa_pipe.extraction.contents import Content, contents_of
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.extraction.session import Session
from mvsa_pipe.features import FeatureBatch, FeatureSizes, Field
from mvsa_pipe.heads.building import build_head
from mvsa_pipe.modality import Modality
from mvsa_pipe.progress import Silence
from mvsa_pipe.resident import RaggedText, ResidentFeatures, load_resident
from mvsa_pipe.training.options import TrainingOptions
from mvsa_pipe.training.step import Trainer, make_trainer

POSTS, BATCH, REPEATS = 256, 32, 3
HEADS = ("native-cat", "dual-attention")


@dataclass(frozen=True)
class Material:
    """The same posts, cached and raw."""

    ids: list[str]
    labels: torch.Tensor
    resident: ResidentFeatures
    sessions: dict[Modality, Session]
    contents: dict[Modality, dict[str, Content]]

    def batches(self) -> tuple[torch.Tensor, ...]:
        """Indices of the posts of each step."""
        return torch.arange(len(self.ids)).split(BATCH)


def main() -> None:
    """Measures both epochs in turns and records their ratio."""
    pair = material.backbones()
    with tempfile.TemporaryDirectory() as folder:
        ready = _material(Path(folder))
        results = {}
        for name in HEADS:
            trainer = _trainer(name, ready.resident.sizes)
            cached_epoch(trainer, ready)  # warm
            pairs = [
                (
                    seconds_of(partial(recomputing_epoch, trainer, ready)),
                    seconds_of(partial(cached_epoch, trainer, ready)),
                )
                for _ in range(REPEATS)
            ]
            results[name] = {
                "recomputing_seconds": summary([slow for slow, _ in pairs]),
                "cached_seconds": summary([fast for _, fast in pairs]),
                "times_faster": summary([slow / fast for slow, fast in pairs]),
            }
    configuration = {
        "posts": POSTS,
        "batch": BATCH,
        "repeats": REPEATS,
        "backbones": [f"{b.family}:{Path(b.argument).name}" for b in pair],
        "precision": "float32",
    }
    write_record("epoch", configuration, results)


def _material(scratch: Path) -> Material:
    posts = material.posts(POSTS, scratch)
    options = ExtractOptions(cache=scratch / "cache", precision="float32")
    pair = material.backbones()
    files = {b.modality: extract(posts, b, options, Silence()).file for b in pair}
    ids = [post.id for post in posts.posts]
    return Material(
        ids=ids,
        labels=torch.tensor([posts.classes.index(str(p.label)) for p in posts.posts]),
        resident=load_resident(files, ids, set(Field), len(posts.classes)),
        sessions={b.modality: Session.load(b, options) for b in pair},
        contents={m: {c.id: c for c in contents_of(posts, m)[0]} for m in Modality},
    )


def cached_epoch(trainer: Trainer, ready: Material) -> None:
    """Every post once, from the tensors in memory."""
    for chosen in ready.batches():
        trainer.step(ready.resident.batch(chosen, trainer.head.needs), ready.labels[chosen])


def recomputing_epoch(trainer: Trainer, ready: Material) -> None:
    """Every post once, through decoder, tokeniser and frozen backbones."""
    for chosen in ready.batches():
        ids = [ready.ids[i] for i in chosen]
        rows = {
            m: _rows(session, [ready.contents[m][i] for i in ids])
            for m, session in ready.sessions.items()
        }
        trainer.step(_batch(rows, ids, trainer.head.needs), ready.labels[chosen])


def _trainer(name: str, sizes: FeatureSizes) -> Trainer:
    head = build_head(name, sizes, seed=0)
    head.train()
    weights = torch.ones(3)
    device = resolve_device("cpu")
    return make_trainer(head, TrainingOptions(), weights, 1000, Precision.FLOAT32, device)


def _rows(session: Session, items: list[Content]) -> Rows:
    (rows,) = session.stream(items, lambda _: None, lambda *_: None)
    return rows


def _batch(rows: dict[Modality, Rows], ids: list[str], needs: frozenset[Field]) -> FeatureBatch:
    """A feature batch in the order of ``ids`` from freshly computed rows."""
    text, image = rows[Modality.TEXT], rows[Modality.IMAGE]
    order = torch.tensor([list(text.ids).index(i) for i in ids])
    bounds = torch.from_numpy(text.bounds())
    ragged = RaggedText(torch.from_numpy(text.hidden), bounds[:-1], torch.from_numpy(text.lengths))
    hidden, mask = ragged.padded(order)
    fields = {
        Field.TEXT_HIDDEN: hidden,
        Field.TEXT_POOLED: torch.from_numpy(text.pooled)[order],
        Field.IMAGE_HIDDEN: torch.from_numpy(image.hidden),
        Field.IMAGE_POOLED: torch.from_numpy(image.pooled),
    }
    chosen = {field.value: value for field, value in fields.items() if field in needs}
    return FeatureBatch(**chosen, text_mask=mask if Field.TEXT_HIDDEN in needs else None)


if __name__ == "__main__":
    main()
