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

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.content import Rows
from mvsa_pipe.devices import Precision, resolve_device
from mvsa_pipe.extraction.batches import BatchWork
from mvsa_pipe.extraction.clock import Clock
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.loaded_backbone import LoadedBackbone, make_work
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes, Field
from mvsa_pipe.features.load import load
from mvsa_pipe.features.resident import RaggedText
from mvsa_pipe.features.source import FeatureSource, batch_of
from mvsa_pipe.heads.build import build_head
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts.contents import Content, contents_of
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.training.options import TrainingOptions
from mvsa_pipe.training.step import Trainer, make_trainer

BATCH, REPEATS = 32, 3
HEADS = ("native-cat", "dual-attention")
Pair = tuple[BackboneOptions, BackboneOptions]


@dataclass(frozen=True)
class Material:
    """The same posts, cached and raw."""

    ids: list[str]
    labels: torch.Tensor
    resident: FeatureSource
    works: dict[Modality, BatchWork]
    contents: dict[Modality, dict[str, Content]]

    def batches(self) -> tuple[torch.Tensor, ...]:
        """Indices of the posts of each step."""
        return torch.arange(len(self.ids)).split(BATCH)


def main() -> None:
    """Measures both epochs in turns and records their ratio."""
    pairs = {"small": (material.backbones(), 256)}
    if material.real():
        full = (material.full_size("bert"), material.full_size("dinov2"))
        pairs["bert-base + dinov2-base"] = (full, 32)
    results = {name: _measure(pair, count) for name, (pair, count) in pairs.items()}
    small = [material.label(backbone) for backbone in pairs["small"][0]]
    configuration = {"batch": BATCH, "repeats": REPEATS, "small": small, "precision": "float32"}
    write_record("epoch", configuration, results)


def _measure(pair: Pair, count: int) -> dict[str, object]:
    results: dict[str, object] = {"posts": count}
    with tempfile.TemporaryDirectory() as folder:
        ready = _material(pair, count, Path(folder))
        for name in HEADS:
            trainer = _trainer(name, ready.resident.sizes)
            cached_epoch(trainer, ready)  # warm
            rounds = [
                (
                    seconds_of(partial(recomputing_epoch, trainer, ready)),
                    seconds_of(partial(cached_epoch, trainer, ready)),
                )
                for _ in range(REPEATS)
            ]
            results[name] = {
                "recomputing_seconds": summary([slow for slow, _ in rounds]),
                "cached_seconds": summary([fast for _, fast in rounds]),
                "times_faster": summary([slow / fast for slow, fast in rounds]),
            }
    return results


def _material(pair: Pair, count: int, scratch: Path) -> Material:
    posts = material.posts(count, scratch)
    options = ExtractOptions(cache=scratch / "cache", precision="float32", batch_size=BATCH)
    sources = {b.modality: [extract(posts, b, options, NoProgress()).file] for b in pair}
    ids = [post.id for post in posts.posts]
    return Material(
        ids=ids,
        labels=torch.tensor([posts.classes.index(str(p.label)) for p in posts.posts]),
        resident=load(sources, ids, set(Field), len(posts.classes)),
        works={
            b.modality: make_work([LoadedBackbone.load(b, options).forward], Clock(), BATCH)
            for b in pair
        },
        contents={m: {c.id: c for c in contents_of(posts, m)[0]} for m in Modality},
    )


def cached_epoch(trainer: Trainer, ready: Material) -> None:
    """Every post once, from the tensors in memory."""
    for chosen in ready.batches():
        trainer.step(batch_of(ready.resident, chosen, trainer.head.needs), ready.labels[chosen])


def recomputing_epoch(trainer: Trainer, ready: Material) -> None:
    """Every post once, through decoder, tokeniser and frozen backbones."""
    for chosen in ready.batches():
        ids = [ready.ids[i] for i in chosen]
        rows = {
            m: _rows(work, [ready.contents[m][i] for i in ids]) for m, work in ready.works.items()
        }
        trainer.step(_batch(rows, ids, trainer.head.needs), ready.labels[chosen])


def _trainer(name: str, sizes: FeatureSizes) -> Trainer:
    head = build_head(name, sizes, seed=0)
    head.train()
    weights = torch.ones(3)
    device = resolve_device("cpu")
    return make_trainer(head, TrainingOptions(), weights, 1000, Precision.FLOAT32, device)


def _rows(work: BatchWork, items: list[Content]) -> Rows:
    (part,) = work.parts(items, [{item.id for item in items}])
    (blocks,) = work.compute(part).rows
    return Rows.joined(blocks)


def _batch(rows: dict[Modality, Rows], ids: list[str], needs: frozenset[Field]) -> FeatureBatch:
    """A feature batch in the order of ``ids`` from freshly computed rows."""
    text, image = rows[Modality.TEXT], rows[Modality.IMAGE]
    order = torch.tensor([list(text.ids).index(i) for i in ids])
    bounds = torch.from_numpy(text.bounds())
    ragged = RaggedText(torch.from_numpy(text.hidden), bounds[:-1], torch.from_numpy(text.lengths))
    hidden, mask = ragged.padded(order, int(ragged.lengths.max()))
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
