"""Run folders with made-up predictions and histories, for the tests of reports."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from run_records import config_of

from mvsa_pipe.runs import Member, Run, RunContents, predictions_of, split_table, write_run

CLASSES = ("negative", "neutral", "positive")
EPOCHS = 4


def written_run(
    root: Path,
    name: str,
    head: str,
    *,
    accuracy: float = 0.6,
    seed: int = 0,
    posts: Sequence[str] = tuple(f"p{k}" for k in range(60)),
    classes: Sequence[str] = CLASSES,
    options: Mapping[str, Any] | None = None,
    split: str = "random-8:1:1",
) -> Run:
    """A run that is right on about this share of its test posts.

    Args:
        root: The folder of runs.
        name: Its name there.
        head: Its head.
        accuracy: That share.
        seed: Its seed.
        posts: Ids of its test posts.
        classes: Names of the classes; posts have them in turn.
        options: Options of the head, by which runs of one head are told apart.
        split: Its split.
    """
    config = config_of(classes)
    config |= {"head": head, "head_options": dict(options or {}), "training": {"seed": seed}}
    config["data"] = {**config["data"], "split": split}
    labels = [classes[k % len(classes)] for k in range(len(posts))]
    # hard posts are hard for all heads
    ease = np.random.default_rng(1).random(len(posts))
    noise = np.random.default_rng([seed, len(name), *name.encode()]).random(len(posts))
    shares = np.full((len(posts), len(classes)), 0.1, np.float32)
    for row, right in enumerate(0.7 * ease + 0.3 * noise < accuracy):
        shares[row, (row + (not right)) % len(classes)] += 0.2 + noise[row]
    shares /= shares.sum(axis=1, keepdims=True)
    history = [
        {"epoch": k, "train_loss": 1 / (k + 1), "val_loss": 1 / (k + 2), "val_f1_macro": k / 10}
        for k in range(EPOCHS)
    ]
    metrics = {
        "protocol": f"set/{len(posts)}/{split}",
        "selected_by": "val_f1_macro",
        "selected": history[-1],
        "seconds": 1.0 + seed,
        "peak_memory_bytes": 5_000_000,
        "parameters": 100 * len(name),
        "device": "cpu (one)",
    }
    members = [Member(f"t{k}", "train", classes[k % 2]) for k in range(20)]
    members += [Member(i, "test", label) for i, label in zip(posts, labels, strict=True)]
    rows = predictions_of(posts, ["test"] * len(posts), labels, shares, classes)
    files = RunContents(config, metrics, history, {"w": b"weights"}, rows, split_table(members))
    return write_run(root / name, files)
