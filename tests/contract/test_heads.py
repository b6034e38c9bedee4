"""Every fusion head of the package satisfies the contract; heads that do not are caught."""

import re

import pytest
import torch
from heads_support import Variant, every_head, every_head_and_input
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.features.batch import ENCODED, FeatureSizes
from mvsa_pipe.heads import HEADS, is_faithful
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.blocks import Dropout
from mvsa_pipe.heads.check_batches import SIZES, make_labels, one_by_one, pad, train
from mvsa_pipe.heads.checks import logits_fault
from mvsa_pipe.heads.contract import CHECKS, check_head, require_sound
from mvsa_pipe.heads.own import register_head

# They mask no padding, as published. This is the one list of heads that may do so.
BATCH_DEPENDENT = {"cmac-faithful", "hstec-faithful"}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@every_head_and_input
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_heads_satisfy_the_contract(variant: Variant, check):
    # published figures, so that no weight is without a gradient by the smallness of a test
    subject = variant.subject(small=check.name != "gradients")
    assert check.run(subject).fault == ""


@every_head_and_input
@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    # the text's width, the image's, its tokens, classes
    axes=st.tuples(*(st.integers(*ends) for ends in ((1, 12), (1, 12), (1, 9), (2, 5)))),
)
def test_logits_are_finite_for_any_sizes(variant: Variant, axes: tuple[int, int, int, int]):
    assert logits_fault(variant.subject(FeatureSizes(*axes), small=False)) == ""


@every_head_and_input
@torch.no_grad()
def test_heads_that_declare_it_depend_on_companions(variant: Variant):
    head, batch = variant.build_ready(), variant.batch(posts=6)
    if head.batch_independent:
        return
    together, padded = head(batch), head(pad(batch, extra=12))
    assert padded.isfinite().all()
    assert (padded - together).abs().max() > 1e-4
    assert (one_by_one(head, batch) - together).abs().max() > 1e-4


def test_only_listed_heads_depend_on_companions():
    rows = HEADS.built_in
    dependent = {row.name for row in rows if not HEADS.load(row.name).batch_independent}
    assert dependent == BATCH_DEPENDENT
    assert all(is_faithful(HEADS.row(name)) for name in dependent)


@every_head_and_input
def test_overfits_sixteen_posts(variant: Variant):
    """Without dropout: the question is what the head can represent and reach."""
    head = variant.build_small(dropout=False)
    aim = head.loss_floor + 0.05
    batch = variant.batch(posts=16)
    assert any(loss < aim for loss in train(head, batch, steps=600, learning_rate=5e-3))


@every_head_and_input
def test_trained_alone_equals_trained_beside_another(variant: Variant):
    batch = variant.batch(posts=8)
    alone = variant.build_small(seed=1)
    losses = list(train(alone, batch, steps=3))
    beside, companion = variant.build_small(seed=1), variant.build_small(seed=2)
    interleaved = zip(train(beside, batch, steps=3), train(companion, batch, steps=3), strict=True)
    assert [loss for loss, _ in interleaved] == losses
    weights = beside.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in alone.state_dict().items())


# The table and the classes tell the same story.


@every_head
def test_docstring_names_source_and_differences(variant: Variant):
    kind = HEADS.load(variant.name)
    assert kind.seeded
    assert "Source:" in kind.__doc__
    assert "Differs from source:" in kind.__doc__
    assert kind.needs <= set(ENCODED)


def test_faithful_heads_are_told_apart():
    faithful = [row.name for row in HEADS if is_faithful(row)]
    assert faithful == [
        "native-combine-faithful",
        "cmac-faithful",
        "hstec-faithful",
        "ote-faithful",
    ]


def test_sizes_reach_the_head():
    assert Variant("basic", ()).build_small().sizes == SIZES


# Heads that break the contract, each in one way.


class Sound(FusionHead):
    """Classifies the text's vector and the mean of its tokens."""

    needs = {"text_pooled", "text_hidden"}  # noqa: RUF012  # as users write it

    def __init__(self, sizes):
        super().__init__(sizes)
        self.out = nn.Sequential(nn.Dropout(0.3), nn.Linear(2 * sizes.text_width, sizes.classes))

    def joined(self, batch):
        tokens, mask = self.read_text_tokens(batch)
        mean = tokens.sum(1) / mask.sum(1, keepdim=True)
        return torch.cat([self.read(batch, "text_pooled"), mean], dim=1)

    def forward(self, batch):
        return self.out(self.joined(batch))


class Normed(Sound):
    def __init__(self, sizes):
        super().__init__(sizes)
        self.norm = nn.BatchNorm1d(2 * sizes.text_width)

    def forward(self, batch):
        return self.out(self.norm(self.joined(batch)))


class OverBatch(Sound):
    def forward(self, batch):
        return super().forward(batch).softmax(dim=0)


class Declared(OverBatch):
    batch_independent = False


class OverPadding(Sound):
    def joined(self, batch):
        tokens, _ = self.read_text_tokens(batch)
        return torch.cat([self.read(batch, "text_pooled"), tokens.mean(1)], dim=1)


class NanPadding(Sound):
    def joined(self, batch):
        tokens, mask = self.read(batch, "text_hidden"), batch.text_mask
        mean = (tokens * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return torch.cat([self.read(batch, "text_pooled"), mean], dim=1)


class Idle(Sound):
    def __init__(self, sizes):
        super().__init__(sizes)
        self.unused = nn.Linear(2, 2)


class Exploding(Sound):
    def forward(self, batch):
        return super().forward(batch).abs().detach().clamp(max=0).sqrt() + torch.sqrt(
            super().forward(batch) * 0.0
        )


class Undeclared(Sound):
    needs = {"text_pooled"}  # noqa: RUF012


class Overdeclared(Sound):
    needs = {"text_pooled", "text_hidden", "image_pooled"}  # noqa: RUF012


class Global(Sound):
    def forward(self, batch):
        joined = self.joined(batch)
        return self.out(nn.functional.dropout(joined, 0.3, self.training))


class Unseeded(Sound):
    def __init__(self, sizes):
        super().__init__(sizes)
        generator = torch.Generator()
        generator.seed()
        self.out[1].weight.data.normal_(generator=generator)


class Unsaved(Sound):
    def __init__(self, sizes):
        super().__init__(sizes)
        self.calls = torch.zeros(())

    def forward(self, batch):
        self.calls = self.calls + float(self.training)
        return super().forward(batch) + self.calls


class Wrong(Sound):
    def forward(self, batch):
        return super().forward(batch)[:, :2]


class Doubled(Sound):
    def forward(self, batch):
        return super().forward(batch).double()


class Broken(Sound):
    def forward(self, batch):
        return self.out(self.read(batch, "text_pooled"))


BREAKING = [
    (Normed, "logits", "ValueError: Expected more than 1 value per channel"),
    (Normed, "companions", "in training mode a post's logits change by .* its batch is smaller"),
    (OverBatch, "companions", "in eval mode a post's logits change"),
    (OverPadding, "padding", "12 more tokens of padding change logits"),
    (NanPadding, "padding", "NaN there gives NaN"),
    (Idle, "gradients", "no gradient reaches unused.weight, unused.bias"),
    (Exploding, "gradients", "gradients are not finite"),
    (Undeclared, "reads", "text_hidden"),
    (Overdeclared, "reads", "does not read image_pooled"),
    (Global, "seed", "draws from torch's global generator"),
    (Unseeded, "seed", "two heads of one seed differ in out.1.weight"),
    (Unsaved, "saving", "gives other logits"),
    (Wrong, "logits", r"returns \[1, 2\] .*not logits \[1, 3\]"),
    (Doubled, "logits", "logits are torch.float64"),
    (Broken, "logits", "RuntimeError: .*mat1 and mat2"),
]


def test_a_sound_head_passes_every_check():
    results = check_head(Sound)
    assert [result.check for result in results] == [check.name for check in CHECKS]
    assert [result.fault for result in results] == [""] * len(CHECKS)
    assert all(result.passed and not result.note for result in results)
    assert isinstance(Sound.build(SIZES, Sound.Options(), 0).out[0], Dropout)


@pytest.mark.parametrize(("kind", "name", "expected"), BREAKING, ids=lambda value: str(value)[-60:])
def test_a_head_that_breaks_a_check_is_caught(kind, name, expected):
    (result,) = (result for result in check_head(kind) if result.check == name)
    assert not result.passed
    assert re.search(expected, result.fault), result.fault


def test_a_head_may_declare_that_it_depends_on_its_batch():
    (result,) = (result for result in check_head(Declared) if result.check == "companions")
    assert result.passed
    assert result.note.startswith("not asked of it: the class declares")


def test_only_sound_heads_are_trained(monkeypatch):
    monkeypatch.setattr(HEADS, "_rows", dict(HEADS._rows))
    monkeypatch.setattr(HEADS, "_added", {})
    for kind in (Sound, Idle, Declared, OverBatch):
        register_head(kind)
    for name in ("gated", "logistic", "sound", "idle", "declared"):
        require_sound(name, {}, SIZES)
    with pytest.raises(ConfigError, match=r"'over-batch' breaks the contract.*batch_independent"):
        require_sound("over-batch", {}, SIZES)
    with pytest.raises(ConfigError, match="no option 'width'"):
        require_sound("sound", {"width": 3}, SIZES)


def test_labels_name_every_class():
    assert make_labels(7, 3).tolist() == [0, 1, 2, 0, 1, 2, 0]
