"""What every fusion head must satisfy, whatever it computes: the six points of the contract."""

import math
from dataclasses import asdict, fields, replace

import pytest
import torch
import torch.nn.functional as F
from heads_support import (
    SIZES,
    Variant,
    every_head,
    every_head_and_input,
    make_labels,
    train,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from mvsa_pipe.features.batch import ENCODED, FeatureBatch, FeatureSizes, Field
from mvsa_pipe.heads import HEADS, is_faithful

# They mask no padding, as published. This is the one list of heads that may do so.
BATCH_DEPENDENT = {"cmac-faithful", "hstec-faithful"}
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# 1. Finite logits for any sizes.


@every_head_and_input
@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    # the text's width, the image's, its tokens, classes
    axes=st.tuples(*(st.integers(*ends) for ends in ((1, 12), (1, 12), (1, 9), (2, 5)))),
    posts=st.integers(1, 4),
    tokens=st.integers(1, 6),
)
def test_logits_are_finite_for_any_sizes(
    variant: Variant, axes: tuple[int, int, int, int], posts: int, tokens: int
):
    sizes = FeatureSizes(*axes)
    head = variant.build(sizes)
    batch = variant.batch(sizes, posts, tokens)
    for mode in (True, False):
        logits = head.train(mode)(batch)
        assert logits.shape == (posts, sizes.classes)
        assert logits.isfinite().all()


@every_head_and_input
def test_half_precision_features_are_read_in_the_precision_of_the_weights(variant: Variant):
    batch = variant.batch()
    halves = {field.value: getattr(batch, field.value).half() for field in ENCODED}
    logits = variant.build_ready()(replace(batch, **halves))
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


# 2. A post's logits do not depend on its companions.


def one_by_one(head, batch: FeatureBatch) -> torch.Tensor:
    """Logits of every post by itself, without padding."""
    alone = []
    for i, real in enumerate(batch.text_mask):
        post = select(batch, slice(i, i + 1))
        trimmed = {
            "text_hidden": post.text_hidden[:, real],
            "text_mask": post.text_mask[:, real],
        }
        alone.append(head(replace(post, **trimmed)))
    return torch.cat(alone)


def select(batch: FeatureBatch, index) -> FeatureBatch:
    held = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return FeatureBatch(**{k: value[index] for k, value in held.items() if value is not None})


def pad(batch: FeatureBatch, extra: int) -> FeatureBatch:
    """The batch with more padding, all of its padding being NaN."""
    posts, tokens, *rest = batch.text_hidden.shape
    unread = ~batch.text_mask.view(posts, tokens, *[1] * len(rest))
    hidden = batch.text_hidden.masked_fill(unread, math.nan)
    return replace(
        batch,
        text_hidden=torch.cat([hidden, hidden.new_full((posts, extra, *rest), math.nan)], dim=1),
        text_mask=torch.cat([batch.text_mask, batch.text_mask.new_zeros(posts, extra)], dim=1),
    )


@every_head_and_input
@torch.no_grad()
def test_a_post_does_not_depend_on_its_companions(variant: Variant):
    head = variant.build_ready()
    batch = variant.batch(posts=6)
    together = head(batch)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    torch.testing.assert_close(head(select(batch, order)), together[order], **TOLERANCE)
    padded, alone = head(pad(batch, extra=12)), one_by_one(head, batch)
    if head.batch_independent:
        torch.testing.assert_close(padded, together, **TOLERANCE)
        torch.testing.assert_close(alone, together, **TOLERANCE)
    else:
        assert padded.isfinite().all()
        assert (padded - together).abs().max() > 1e-4
        assert (alone - together).abs().max() > 1e-4


def test_only_listed_heads_depend_on_companions():
    dependent = {row.name for row in HEADS if not HEADS.load(row.name).batch_independent}
    assert dependent == BATCH_DEPENDENT
    assert all(is_faithful(HEADS.row(name)) for name in dependent)


# 3. It can learn.


@every_head_and_input
def test_overfits_sixteen_posts(variant: Variant):
    """Without dropout: the question is what the head can represent and reach."""
    head = variant.build_small(dropout=False)
    batch, labels = variant.batch(posts=16), make_labels(16)
    aim = head.loss_floor + 0.05
    assert any(loss < aim for loss in train(head, batch, labels, steps=600, learning_rate=5e-3))


@every_head_and_input
def test_every_parameter_gets_a_gradient(variant: Variant):
    head = variant.build().train()
    F.cross_entropy(head(variant.batch(posts=16)), make_labels(16)).backward()
    idle = [
        name for name, p in head.named_parameters() if p.grad is None or not p.grad.any().item()
    ]
    assert idle == []


# 4. It reads only what it declares.


@every_head_and_input
@pytest.mark.parametrize("blank", ["absent", "nan"])
def test_reads_only_what_it_needs(variant: Variant, blank: str):
    head = variant.build_ready()
    batch = variant.batch()
    values = {}
    for field in ENCODED - head.needs:
        value = getattr(batch, field.value)
        values[field.value] = None if blank == "absent" else torch.full_like(value, math.nan)
    if blank == "absent" and Field.TEXT_HIDDEN not in head.needs:
        values["text_mask"] = None
    torch.testing.assert_close(head(replace(batch, **values)), head(batch), rtol=0, atol=0)


@every_head_and_input
def test_says_which_feature_is_missing(variant: Variant):
    head = variant.build_small()
    for field in head.needs:
        lacking = {field.value: None}
        if field is Field.TEXT_HIDDEN:
            lacking["text_mask"] = None
        batch = replace(variant.batch(), **lacking)
        with pytest.raises(ValueError, match=field.value):
            head(batch)


# 5. The seed decides, and nothing else does.


@every_head_and_input
def test_same_seed_same_weights(variant: Variant):
    first, again, other = (variant.build(seed=seed).state_dict() for seed in (7, 7, 8))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert variant.kind.seeded
    assert any(not torch.equal(first[k], other[k]) for k in first)


@every_head_and_input
def test_global_generator_is_left_alone(variant: Variant):
    before = torch.random.get_rng_state()
    head = variant.build_small()
    list(train(head, variant.batch(), make_labels(6), steps=2))
    assert torch.equal(torch.random.get_rng_state(), before)


@every_head_and_input
def test_trained_alone_equals_trained_beside_another(variant: Variant):
    batch, labels = variant.batch(posts=8), make_labels(8)
    alone = variant.build_small(seed=1)
    losses = list(train(alone, batch, labels, steps=3))
    beside, companion = variant.build_small(seed=1), variant.build_small(seed=2)
    interleaved = zip(
        train(beside, batch, labels, steps=3),
        train(companion, batch, labels, steps=3),
        strict=True,
    )
    assert [loss for loss, _ in interleaved] == losses
    weights = beside.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in alone.state_dict().items())


# 6. What is saved is what was trained.


@every_head_and_input
@torch.no_grad()
def test_saved_file_gives_identical_logits(variant: Variant):
    head = variant.build_ready(seed=3)
    config = {
        "head": variant.name,
        "head_options": asdict(head.options),
        "sizes": asdict(head.sizes),
        "training": {"seed": 4},
    }
    restored = variant.kind.load(config, head.dump(), "here", torch.device("cpu"))
    batch = variant.batch()
    assert torch.equal(restored(batch), head(batch))
    assert torch.equal(restored.predict_proba(batch), head(batch).softmax(dim=1))


# The table and the classes tell the same story.


@every_head
def test_docstring_names_source_and_differences(variant: Variant):
    kind = HEADS.load(variant.name)
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
