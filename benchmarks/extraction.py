"""A whole extraction against a bare forward loop over tensors that lie ready in memory.

The bare loop pays for nothing but the backbone: no reading, decoding, hashing, copying or writing.
Both run the same batches in the same arithmetic.
"""

import shutil
import tempfile
from pathlib import Path

import material
import numpy as np
import torch
from record import seconds_of, summary, write_record

from mvsa_pipe.backbones.base import ImageBackbone, TextBackbone
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.devices import arithmetic
from mvsa_pipe.extraction.contents import Content, contents_of
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.extraction.session import Session
from mvsa_pipe.posts import PostSet
from mvsa_pipe.progress import Silence

POSTS, REPEATS = 512, 3
PRECISIONS = ("float32", "bfloat16")


def main() -> None:
    """Measures each backbone in each arithmetic and records the ratios."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        posts = material.posts(POSTS, Path(folder))
        for backbone in material.backbones():
            for precision in PRECISIONS:
                key = f"{backbone.family}:{Path(backbone.argument).name} {precision}"
                results[key] = _measure(posts, backbone, precision, Path(folder) / "cache")
    write_record("extraction", {"posts": POSTS, "repeats": REPEATS, "batch": 32}, results)


def _measure(
    posts: PostSet, backbone: BackboneOptions, precision: str, cache: Path
) -> dict[str, object]:
    options = ExtractOptions(cache=cache, precision=precision)
    session = Session.load(backbone, options)
    items, _ = contents_of(posts, backbone.modality)
    batches = _ready_batches(session, items, options.batch_size)

    def bare() -> None:
        with torch.inference_mode(), arithmetic(session.precision, session.device):
            for batch in batches:
                session.backbone.encode(*batch)

    def whole() -> None:
        shutil.rmtree(cache, ignore_errors=True)
        rows = session.stream(items, lambda _: None, lambda *_: None)
        _write(rows, posts, session, cache)

    bare()  # warm
    pairs = [(seconds_of(whole), seconds_of(bare)) for _ in range(REPEATS)]
    full = [seconds_of(lambda: _fresh(posts, backbone, options)) for _ in range(1)]
    return {
        "streaming_over_bare": summary([slow / fast for slow, fast in pairs]),
        "bare_seconds": summary([fast for _, fast in pairs]),
        "posts_per_second": summary([len(items) / slow for slow, _ in pairs]),
        "whole_command_seconds": summary(full),
    }


def _write(rows: object, posts: PostSet, session: Session, cache: Path) -> None:
    from mvsa_pipe.cache.folder import CacheFolder
    from mvsa_pipe.cache.writer import open_writer

    with open_writer(CacheFolder(cache), posts.name, session.resolution.fingerprint) as writer:
        for part in rows:
            writer.commit(part)
        writer.finish([post.id for post in posts.posts], {})


def _fresh(posts: PostSet, backbone: BackboneOptions, options: ExtractOptions) -> None:
    shutil.rmtree(options.cache, ignore_errors=True)
    extract(posts, backbone, options, Silence())


def _ready_batches(session: Session, items: list[Content], size: int) -> list[tuple]:
    """The batches that the extraction forms, as tensors in memory."""
    backbone = session.backbone
    if isinstance(backbone, ImageBackbone):
        pixels = [backbone.prepare(item.open_image()) for item in items]
        stacks = [np.stack(pixels[i : i + size]) for i in range(0, len(pixels), size)]
        return [(torch.from_numpy(stack),) for stack in stacks]
    assert isinstance(backbone, TextBackbone)
    tokens = [backbone.cut(ids) for ids in backbone.tokenize([item.text for item in items])]
    tokens.sort(key=len, reverse=True)
    batches, start = [], 0
    while start < len(tokens):
        longest = len(tokens[start])
        rows = tokens[start : start + size * backbone.max_tokens // longest]
        ids = np.full((len(rows), longest), backbone.pad_id, np.int32)
        for k, row in enumerate(rows):
            ids[k, : len(row)] = row
        lengths = np.array([len(row) for row in rows])
        mask = np.arange(longest) < lengths[:, None]
        batches.append((torch.from_numpy(ids), torch.from_numpy(mask)))
        start += len(rows)
    return batches


if __name__ == "__main__":
    main()
