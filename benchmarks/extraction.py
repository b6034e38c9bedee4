"""A running extraction against a bare forward loop over tensors that lie ready in memory.

The bare loop pays for nothing but the backbone: no reading, decoding, hashing, copying or writing.
It has all cores and the best of three batch sizes, found before anything is counted; it runs before
and after each extraction, whose rival is the mean of both. The extraction is counted from its first
batch to its last committed part; loading and joining are told apart by its own profile. Pictures
are decoded in each of the ways that a CPU has.
"""

import shutil
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import material
import numpy as np
import torch
from record import earlier_results, seconds_of, summary, write_record

from mvsa_pipe.backbones.base import ImageBackbone, TextBackbone
from mvsa_pipe.backbones.options import BackboneOptions, Decode
from mvsa_pipe.devices import arithmetic
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.forward import padded, weights_cast_once
from mvsa_pipe.extraction.loaded_backbone import LoadedBackbone
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.images import decode_image
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import PostSet
from mvsa_pipe.posts.contents import Content, contents_of
from mvsa_pipe.progress import NoProgress

REPEATS = 3
BARE_BATCHES = (8, 16, 32)
PRECISIONS = ("float32", "bfloat16")


def main() -> None:
    """Measures each backbone in each arithmetic and records the ratios."""
    chosen = {material.label(b): (b, 512) for b in material.backbones()}
    if material.real():
        chosen |= {"bert-base": (material.full_size("bert"), 192)}
        chosen |= {"resnet50": (material.full_size("resnet50"), 192)}
        chosen |= {"dinov2-base": (material.full_size("dinov2"), 48)}
    wanted = sys.argv[1:] or list(chosen)
    results = earlier_results("extraction") if sys.argv[1:] else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in wanted:
            backbone, count = chosen[name]
            results = {row: old for row, old in results.items() if not row.startswith(f"{name} ")}
            posts = material.posts(count, Path(folder))
            for precision in PRECISIONS:
                for decode in _decoders(backbone):
                    row = " ".join(filter(None, (name, precision, decode)))
                    results[row] = _measure(
                        posts,
                        backbone,
                        precision,
                        decode or Decode.EXACT,
                        Path(folder) / "cache",
                    )
    write_record("extraction", {"repeats": REPEATS, "bare_batches": BARE_BATCHES}, results)


def _decoders(backbone: BackboneOptions) -> tuple[Decode | None, ...]:
    """The ways in which a CPU decodes pictures; texts have none."""
    return (None,) if backbone.modality is Modality.TEXT else (Decode.EXACT, Decode.FAST)


def _measure(
    posts: PostSet, backbone: BackboneOptions, precision: str, decode: Decode, cache: Path
) -> dict[str, object]:
    options = ExtractOptions(cache=cache, precision=precision, decode=decode)
    session = LoadedBackbone.load(backbone, options)
    items, _ = contents_of(posts, backbone.modality)
    loops = [partial(_bare, session, ready_batches(session, items, n)) for n in BARE_BATCHES]
    _run_once(posts, backbone, options)  # warm; memory is kept from here on
    loop = min(loops, key=lambda each: min(seconds_of(each), seconds_of(each)))
    pairs, before = [], seconds_of(loop)
    for _ in range(REPEATS):
        profile = _run_once(posts, backbone, options)
        running = profile["phases"]["compute"] + profile["phases"]["await_disk"]
        after = seconds_of(loop)
        pairs.append((running, statistics.mean((before, after))))
        before = after
    return {
        "posts": len(items),
        "extraction_over_bare": summary([slow / fast for slow, fast in pairs]),
        "bare_seconds": summary([fast for _, fast in pairs]),
        "posts_per_second": summary([len(items) / slow for slow, _ in pairs]),
        "profile": profile,
    }


def _run_once(posts: PostSet, backbone: BackboneOptions, options: ExtractOptions) -> dict[str, Any]:
    """The profile of an extraction into an empty folder."""
    shutil.rmtree(options.cache, ignore_errors=True)
    return extract(posts, backbone, options, NoProgress()).profile


def _bare(session: LoadedBackbone, batches: list[tuple]) -> None:
    forward = session.forward
    with (
        torch.inference_mode(),
        weights_cast_once(forward.backbone.module, forward.precision),
        arithmetic(forward.precision, forward.device),
    ):
        for batch in batches:
            forward.backbone.encode(*batch)


def ready_batches(session: LoadedBackbone, items: list[Content], size: int) -> list[tuple]:
    """Batches as tensors in memory; texts sorted by length and batched by tokens."""
    backbone = session.forward.backbone
    if isinstance(backbone, ImageBackbone):
        pixels = [backbone.prepare(decode_image(*item.read_image())) for item in items]
        stacks = [np.stack(pixels[i : i + size]) for i in range(0, len(pixels), size)]
        return [(torch.from_numpy(stack),) for stack in stacks]
    assert isinstance(backbone, TextBackbone)
    tokens = [backbone.cut(ids) for ids in backbone.tokenize([item.text for item in items])]
    tokens.sort(key=len, reverse=True)
    batches, start = [], 0
    while start < len(tokens):
        rows = tokens[start : start + max(1, size * backbone.max_tokens // len(tokens[start]))]
        batches.append(tuple(map(torch.from_numpy, padded(rows, backbone.pad_id))))
        start += len(rows)
    return batches


if __name__ == "__main__":
    main()
