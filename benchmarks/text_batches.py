"""One text backbone over the same tweets, batched in three ways; only the forward passes count.

Padded to 128 tokens as most scripts do; in the posts' order, padded to the batch's longest; and the
very batches of an extraction, sorted by length and of so many tokens each.
"""

import tempfile
from functools import partial
from pathlib import Path

import material
import numpy as np
import torch
from record import seconds_of, summary, write_record

from mvsa_pipe.extraction.clock import Clock
from mvsa_pipe.extraction.forward import padded
from mvsa_pipe.extraction.loaded_backbone import LoadedBackbone, make_work
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.posts.contents import contents_of

POSTS, BATCH, REPEATS, LONGEST = 480, 32, 2, 128

# Batches padded to one length take one time: every so many-th is measured, and counted so often.
EVERY = 5


def main() -> None:
    """Measures and records the three."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        posts = material.posts(POSTS, Path(folder))
        text = material.full_size("bert") if material.real() else material.backbones()[0]
        session = LoadedBackbone.load(text, ExtractOptions(precision="float32"))
        backbone = session.forward.backbone
        items, _ = contents_of(posts, text.modality)
        work = make_work([session.forward], Clock())
        parts = work.parts(items, [{item.id for item in items}])
        in_batches = [work.read(batch)[1] for part in parts for batch in part]
        tokens = [backbone.cut(ids) for ids in backbone.tokenize([item.text for item in items])]
        in_order = [tokens[i : i + BATCH] for i in range(0, len(tokens), BATCH)]
        some = in_order[::EVERY]
        ways = {
            "padded_to_128": [_filled(*padded(b, backbone.pad_id)) for b in some],
            "unsorted": [padded(b, backbone.pad_id) for b in in_order],
            "sorted": [padded(b, backbone.pad_id) for b in in_batches],
        }
        counted = {"padded_to_128": len(tokens) / sum(map(len, some))}
        loops = {name: partial(_forward, backbone, batches) for name, batches in ways.items()}
        _forward(backbone, ways["sorted"][:2])  # warm
        rounds = [
            {name: seconds_of(loop) * counted.get(name, 1.0) for name, loop in loops.items()}
            for _ in range(REPEATS)
        ]
        for name in ("padded_to_128", "unsorted"):
            results[f"{name}_over_sorted"] = summary([r[name] / r["sorted"] for r in rounds])
        slots = sum(mask.size for _, mask in ways["sorted"])
        results["mean_tokens"] = float(np.mean([len(row) for row in tokens]))
        results["padding_of_sorted"] = slots / sum(map(len, tokens)) - 1
    configuration = {"posts": POSTS, "batch": BATCH, "repeats": REPEATS, "every": EVERY}
    write_record("text_batches", configuration, results)


def _filled(ids: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    missing = ((0, 0), (0, LONGEST - ids.shape[1]))
    return np.pad(ids, missing), np.pad(mask, missing)


def _forward(backbone: object, batches: list) -> None:
    with torch.inference_mode():
        for ids, mask in batches:
            backbone.encode(torch.from_numpy(ids), torch.from_numpy(mask))


if __name__ == "__main__":
    main()
