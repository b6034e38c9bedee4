"""The points that every fusion head must satisfy: each returns why a head does not, or "".

An exception of the head's own code passes through.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from mvsa_pipe.errors import name_some
from mvsa_pipe.features.batch import ENCODED, FeatureBatch, Field
from mvsa_pipe.heads.base import GLOBAL_GENERATOR, FusionHead
from mvsa_pipe.heads.check_batches import make_labels, one_by_one, pad, select, train
from mvsa_pipe.heads.model import CPU

# Rounding of matrix products whose batches have other shapes.
TOLERANCE = 1e-5
_POSTS = 6
_STEPS = 3


@dataclass(frozen=True)
class Subject:
    """A head to check.

    Attributes:
        build: Builds the head from a seed.
        batch: Makes features of so many posts of at most so many text tokens, from a seed.
        name: The head's name, as its records have it.
    """

    build: Callable[[int], FusionHead]
    batch: Callable[[int, int, int], FeatureBatch]
    name: str = "head"

    def ready(self, seed: int = 0) -> FusionHead:
        """The head in eval mode."""
        return self.build(seed).eval()


# One post among others.


def logits_fault(subject: Subject) -> str:
    """Logits ``[B, C]`` in float32, finite, in both modes, of half precision features too."""
    for posts, tokens in ((1, 1), (1, 4), (_POSTS, 7)):
        head, batch = subject.build(0), subject.batch(posts, tokens, 0)
        halves: dict[str, Any] = {
            name: value.half() for name, value in batch.tensors() if value.is_floating_point()
        }
        for mode, given in ((True, batch), (False, batch), (False, replace(batch, **halves))):
            logits: Any = head.train(mode)(given)
            wanted = [posts, head.sizes.classes]
            where = f"for {posts} post{'s' * (posts > 1)} in {'training' if mode else 'eval'} mode"
            if not isinstance(logits, Tensor) or list(logits.shape) != wanted:
                shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
                return f"forward returns {shape} {where}, not logits {wanted}"
            if logits.dtype != torch.float32:
                return f"logits are {logits.dtype} {where}, not torch.float32"
            if not logits.isfinite().all():
                return f"logits are not finite {where}"
    return ""


@torch.no_grad()
def companions_fault(subject: Subject) -> str:
    """A post's logits do not depend on the others of its batch, in both modes."""
    head = subject.build(0)
    if not head.batch_independent:
        return ""
    batch, order = subject.batch(_POSTS, 7, 0), torch.tensor([3, 1, 5, 0, 4, 2])
    for mode in ("eval", "training"):
        _without_dropout(head).train(mode == "training")
        together = head(batch)
        if not torch.equal(together, head(batch)):
            return f"two calls for the same posts give different logits in {mode} mode"
        found = f"in {mode} mode a post's logits change"
        if (gap := _gap(head(select(batch, order)), together[order])) > TOLERANCE:
            return f"{found} by {gap:.2g} with the order of its batch"
        if (gap := _gap(head(select(batch, slice(0, 2))), together[:2])) > TOLERANCE:
            return f"{found} by {gap:.2g} where its batch is smaller"
        if (gap := _gap(one_by_one(head, batch), together)) > TOLERANCE:
            return f"{found} by {gap:.2g} where it is alone, without padding"
    return ""


@torch.no_grad()
def padding_fault(subject: Subject) -> str:
    """More padding, whatever stands in it, changes no logits."""
    head = _without_dropout(subject.ready())
    if not head.batch_independent or Field.TEXT_HIDDEN not in head.needs:
        return ""
    batch = subject.batch(_POSTS, 7, 0)
    padded = head(pad(batch, 12))
    if not padded.isfinite().all():
        return "what stands in padding reaches the logits: NaN there gives NaN"
    gap = _gap(padded, head(batch))
    return f"12 more tokens of padding change logits by {gap:.2g}" if gap > TOLERANCE else ""


# Learning.


def gradients_fault(subject: Subject) -> str:
    """Finite gradients reach every parameter."""
    head, batch = subject.build(0).train(), subject.batch(16, 7, 0)
    loss = F.cross_entropy(head(batch), make_labels(16, head.sizes.classes))
    loss.backward()  # type: ignore[no-untyped-call]  # torch's
    named = dict(head.named_parameters())
    if not named:
        return "it has no parameters"
    strange = [n for n, p in named.items() if p.grad is not None and not p.grad.isfinite().all()]
    if strange:
        return f"gradients are not finite: {name_some(strange)}"
    idle = [name for name, p in named.items() if p.grad is None or not p.grad.any().item()]
    return f"no gradient reaches {name_some(idle)}" if idle else ""


# Reading.


@torch.no_grad()
def reads_fault(subject: Subject) -> str:
    """The head reads what ``needs`` names, and nothing else."""
    head, batch = subject.ready(), subject.batch(_POSTS, 7, 0)
    expected = head(batch)
    unread = [field.value for field in ENCODED - head.needs]
    absent: dict[str, Any] = dict.fromkeys(unread)
    if Field.TEXT_HIDDEN.value in unread:
        absent["text_mask"] = None
    if not torch.equal(head(replace(batch, **absent)), expected):
        return f"logits change without {name_some(unread)}, which needs does not name"
    for field in sorted(head.needs):
        lacking: dict[str, Any] = {field.value: None}
        if field is Field.TEXT_HIDDEN:
            lacking["text_mask"] = None
        try:
            head(replace(batch, **lacking))
        except ValueError as error:
            if field.value in str(error):
                continue
            return f"without {field} its error does not name it: self.read(batch, ...) does"
        return f"it does not read {field}, which needs names"
    return ""


# The seed.


def seed_fault(subject: Subject) -> str:
    """The seed decides weights and training; torch's global generator does not."""
    first, again, other = (subject.build(seed).state_dict() for seed in (7, 7, 8))
    if changed := [name for name in first if not torch.equal(first[name], again[name])]:
        return f"two heads of one seed differ in {name_some(changed)}"
    if first and all(torch.equal(first[name], other[name]) for name in first):
        return "two heads of different seeds have the same weights"
    losses, states = [], []
    for disturbance in (1, 2):
        with GLOBAL_GENERATOR, torch.random.fork_rng(devices=[]):
            torch.manual_seed(disturbance)
            head = subject.build(7)
            before = torch.random.get_rng_state()
            losses.append(list(train(head, subject.batch(8, 7, 0), _STEPS)))
            drawn = not torch.equal(before, torch.random.get_rng_state())
        states.append(head.state_dict())
        if drawn:
            return (
                "it draws from torch's global generator as it trains, so that a run depends on "
                "what ran before: layers of nn.Dropout, or of mvsa_pipe.heads.blocks.Dropout, draw "
                "from the run's own"
            )
    if losses[0] != losses[1] or any(not torch.equal(states[0][k], states[1][k]) for k in first):
        return "two trainings of one seed give different weights"
    return ""


# What is saved.


def saving_fault(subject: Subject) -> str:
    """A trained head that is saved and loaded gives the same bits."""
    head = subject.ready(3)
    list(train(head, subject.batch(8, 7, 0), _STEPS))
    head.eval()
    config = {
        "head": subject.name,
        "head_options": asdict(head.options),
        "sizes": asdict(head.sizes),
        "training": {"seed": 4},
    }
    restored = type(head).load(config, head.dump(), "the check", CPU)
    batch = subject.batch(_POSTS, 7, 1)
    with torch.no_grad():
        same = torch.equal(restored(batch), head(batch))
    if not same:
        return "a head that was saved and loaded gives other logits: a tensor is no parameter of it"
    return ""


def _without_dropout(head: FusionHead) -> FusionHead:
    for layer in head.dropouts().values():
        layer.probability = 0.0
    for part in head.modules():
        if isinstance(part, nn.MultiheadAttention):
            part.dropout = 0.0
        elif isinstance(part, _DropoutNd):
            part.p = 0.0
    return head


def _gap(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative where values are large; infinite where one is NaN."""
    gap = (found - expected).abs() / expected.abs().clamp(min=1.0)
    return float(gap.nan_to_num(math.inf).max())
