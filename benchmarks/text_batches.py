"""One text backbone over the same tweets, batched in three ways; only the forward passes count.

Padded to 128 tokens as most scripts do; in the posts' order, padded to the batch's longest; sorted
by length and batched by tokens, as an extraction does.
"""

import tempfile
from functools import partial
from pathlib import Path

import material
import numpy as np
import torch
from record import seconds_of, summary, write_record

from mvsa_pipe.extraction.contents import contents_of
from mvsa_pipe.extraction.forward import padded
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.extraction.session import Session

POSTS, BATCH, REPEATS, LONGEST = 96, 32, 3, 128


def main() -> None:
    """Measures and records the three."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        posts = material.posts(POSTS, Path(folder))
        text = material.full_size("bert") if material.real() else material.backbones()[0]
        session = Session.load(text, ExtractOptions(precision="float32"))
        backbone = session.forward.backbone
        items, _ = contents_of(posts, text.modality)
        tokens = [backbone.cut(ids) for ids in backbone.tokenize([item.text for item in items])]
        in_order = [tokens[i : i + BATCH] for i in range(0, len(tokens), BATCH)]
        ways = {
            "padded_to_128": [_filled(*padded(b, backbone.pad_id)) for b in in_order],
            "unsorted": [padded(b, backbone.pad_id) for b in in_order],
            "sorted": [padded(b, backbone.pad_id) for b in _sorted(tokens)],
        }
        loops = {name: partial(_forward, backbone, batches) for name, batches in ways.items()}
        loops["sorted"]()  # warm
        rounds = [{name: seconds_of(loop) for name, loop in loops.items()} for _ in range(REPEATS)]
        for name in ("padded_to_128", "unsorted"):
            results[f"{name}_over_sorted"] = summary([r[name] / r["sorted"] for r in rounds])
        results["mean_tokens"] = float(np.mean([len(row) for row in tokens]))
    write_record("text_batches", {"posts": POSTS, "batch": BATCH, "repeats": REPEATS}, results)


def _sorted(tokens: list) -> list[list]:
    order = sorted(tokens, key=len, reverse=True)
    batches, start = [], 0
    while start < len(order):
        rows = order[start : start + max(1, 8 * LONGEST // len(order[start]))]
        batches.append(rows)
        start += len(rows)
    return batches


def _filled(ids: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    missing = ((0, 0), (0, LONGEST - ids.shape[1]))
    return np.pad(ids, missing), np.pad(mask, missing)


def _forward(backbone: object, batches: list) -> None:
    with torch.inference_mode():
        for ids, mask in batches:
            backbone.encode(torch.from_numpy(ids), torch.from_numpy(mask))


if __name__ == "__main__":
    main()
