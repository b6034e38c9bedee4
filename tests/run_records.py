"""Records of a run in small: everything that a reader of run folders asks for."""

from collections.abc import Sequence
from typing import Any


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
