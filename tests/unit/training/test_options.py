"""What training is told: ranges, class weights, learning-rate schedules."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.training.options import Schedule, TrainingOptions, parse_class_weights
from mvsa_pipe.training.step import learning_rate_factor

CLASSES = ("negative", "neutral", "positive")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("epochs", -1),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", -1.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("weight_decay", -0.1),
        ("warmup", 1.0),
        ("warmup", -0.1),
        ("patience", -1),
        ("clip_norm", -1.0),
        ("clip_norm", float("nan")),
        ("label_smoothing", 1.0),
        ("label_smoothing", -0.1),
        ("label_smoothing", float("nan")),
        ("ema", 1.0),
        ("ema", -0.5),
        ("feature_noise", -1e-9),
        ("feature_noise", float("inf")),
        ("seed", -1),
        ("precision", "float16"),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_option(field, value):
    with pytest.raises(ConfigError, match=f"--{field.replace('_', '-')} cannot be used"):
        TrainingOptions(**{field: value})


def test_records_have_later_options_only_where_they_change_something():
    """Digests and comparisons of earlier runs stay valid."""
    later = {
        "modality_dropout": 0.1, "label_smoothing": 0.1, "ema": 0.9, "feature_noise": 0.5,
        "track_attention": True,
    }  # fmt: skip
    assert not later.keys() & TrainingOptions().as_record().keys()
    for name, value in later.items():
        record = TrainingOptions(**{name: value}).as_record()
        assert record == TrainingOptions().as_record() | {name: value}
    assert TrainingOptions(patience=0, centre=False).as_record()["patience"] == 0


def test_weights_of_classes():
    assert parse_class_weights("none", CLASSES, [5, 1, 4]) == [1.0, 1.0, 1.0]
    assert parse_class_weights("balanced", CLASSES, [5, 1, 4]) == pytest.approx(
        [10 / 15, 10 / 3, 10 / 12]
    )
    assert parse_class_weights("positive=3, negative=1,neutral=.5", CLASSES, []) == [1.0, 0.5, 3.0]


def test_a_class_without_training_posts_weighs_one_when_balanced():
    assert parse_class_weights("balanced", CLASSES, [5, 0, 5]) == pytest.approx([2 / 3, 1, 2 / 3])


@given(st.lists(st.integers(1, 10_000), min_size=3, max_size=3))
def test_balanced_weights_give_every_class_the_same_sum(counts):
    weights = parse_class_weights("balanced", CLASSES, counts)
    sums = [weight * count for weight, count in zip(weights, counts, strict=True)]
    assert sums == pytest.approx([sum(counts) / 3] * 3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "heavy",
        "negative=1",
        "negative=1,neutral=1,positive=0",
        "negative=1,neutral=1,positive=-2",
        "negative=1,neutral=1,positive=nan",
        "negative=1,neutral=1,positive=inf",
        "negative=1,neutral=1,positive=two",
        "negative=1,neutral=1,good=1",
        "negative=1,neutral=1,positive=1,good=1",
        "1,1,1",
        "negative=1,neutral=1,positive=1,positive=2",
        "negative=1,neutral=1,positive=1e308",
        "negative=1,neutral=1,positive=1e-300",
        '{"negative": 1, "neutral": 1}',
        '{"negative": 1, "neutral": 1, "positive": true}',
        '{"negative": 1, "neutral": 1, "positive": [1]}',
        '{"a":' * 5_000,
        '"negative=1,neutral=1,positive=1',
    ],
)
def test_weights_that_say_nothing_are_refused(text):
    with pytest.raises(ConfigError, match=r"--class-weights.*negative=WEIGHT"):
        parse_class_weights(text, CLASSES, [1, 1, 1])


ODD = ("a,b", "c=d", 'say "x"', "1=2,3", "{}", " none")


@pytest.mark.parametrize("classes", [ODD[:1] + ODD[1:2], ODD[:5], ("x=1", "x"), ("none", "c=1")])
def test_any_label_can_be_weighted_in_quotes(classes):
    table = io.StringIO()
    wanted = [1.0 + place for place in range(len(classes))]
    pairs = [f"{name}={weight}" for name, weight in zip(classes, wanted, strict=True)]
    csv.writer(table, lineterminator="").writerow(pairs)
    assert parse_class_weights(table.getvalue(), classes, []) == wanted


@given(st.lists(st.text(max_size=8), min_size=2, max_size=5, unique=True))
def test_any_label_can_be_weighted_as_json(classes):
    wanted = {name: 1.0 + place for place, name in enumerate(classes)}
    assert parse_class_weights(json.dumps(wanted), classes, []) == list(wanted.values())


def test_the_message_spells_odd_labels_as_they_are_typed():
    with pytest.raises(ConfigError) as caught:
        parse_class_weights("", ODD[:2], [])
    assert '"a,b=WEIGHT",c=d=WEIGHT' in str(caught.value)


def factors(steps, **fields):
    options = TrainingOptions(**fields)
    return [learning_rate_factor(step, options, steps) for step in range(steps)]


@given(st.integers(1, 300), st.floats(0, 0.9), st.sampled_from(Schedule))
def test_factors_stay_between_nothing_and_the_peak(steps, warmup, schedule):
    assert all(0 < f <= 1 for f in factors(steps, warmup=warmup, schedule=schedule))


def test_cosine_rises_in_the_warm_up_and_falls_to_nearly_nothing():
    found = factors(100, warmup=0.1, schedule=Schedule.COSINE)
    assert found[:11] == sorted(found[:11])
    assert found[10] == 1.0
    assert found[10:] == sorted(found[10:], reverse=True)
    assert found[55] == pytest.approx(0.5)
    assert found[-1] < 1e-3


def test_constant_stays_at_the_peak_after_the_warm_up():
    found = factors(50, warmup=0.2, schedule=Schedule.CONSTANT)
    assert found[10:] == [1.0] * 40
    assert found[0] < found[5] < 1.0
