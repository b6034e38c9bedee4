"""Records of a run in small: everything that a reader of run folders asks for."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from mvsa_pipe.metrics.score_table import LABEL_SCORES


def config_of(classes: Sequence[str], name: str = "set") -> dict[str, Any]:
    """A ``config.json`` of a head that reads no cache."""
    return {
        "head": "text",
        "head_options": {"hidden": 4, "dropout": 0.1},
        "sizes": {"text_width": 3, "image_width": 2, "image_tokens": 1, "classes": len(classes)},
        "training": {"seed": 0},
        "protocol": f"{name}/2/random-8:1:1/seed-0",
        "data": {
            "path": "data",
            "read": {"task": "sentiment", "name": None},
            "split": "random-8:1:1",
            "split_seed": 0,
            "name": name,
            "classes": list(classes),
        },
        "image_grid": 0,
        "caches": {},
    }


def assert_like_scores(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Equal scores of labels, and scores of probabilities that differ by their rounding alone."""
    assert one.keys() == other.keys()
    for part, scores in one.items():
        known = other[part]
        same = {k: v for k, v in scores.items() if k not in ("values", "intervals")}
        assert same == {k: v for k, v in known.items() if k not in ("values", "intervals")}
        for kind in ("values", "intervals"):
            assert scores[kind].keys() == known[kind].keys()
            for name, found in scores[kind].items():
                exact = name in LABEL_SCORES
                assert found == pytest.approx(known[kind][name], abs=0 if exact else 1e-3)
