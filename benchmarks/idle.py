"""``mvsa extract`` when nothing is to do: 100,000 posts, text and image, files warm.

The caches are made without a forward pass: zeros stand for features, of the size of one image token
and of short texts, under the fingerprints and digests that an extraction would give them. The whole
command is measured then. Files are remembered by their time stamps, so that pictures are not read
again; a file younger than two seconds is never trusted, so the benchmark waits that long first.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import material
import numpy as np
from record import processor_seconds_of_children, seconds_of, summary, write_record

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.content import Rows
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.extraction.loaded_backbone import LoadedBackbone
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import read_posts
from mvsa_pipe.posts.contents import contents_of

POSTS, REPEATS, TOKENS = 100_000, 3, 8
NAMES = ("tiny-text", "tiny-image")


def main() -> None:
    """Makes the caches, then measures the whole command."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = material.many_posts(POSTS, Path(scratch))
        cache = Path(scratch) / "cache"
        time.sleep(3)
        for name in NAMES:
            _fill(folder, cache, BackboneOptions(name))
        command = [
            *(sys.executable, "-m", "mvsa_pipe", "extract", "--data", str(folder), "--json"),
            *("--cache", str(cache), *(word for name in NAMES for word in ("--backbone", name))),
        ]
        wall, processor = [], []
        for _ in range(REPEATS):
            before = processor_seconds_of_children()
            wall.append(seconds_of(lambda: _run(command)))
            processor.append(processor_seconds_of_children() - before)
    results = {"again_seconds": summary(wall), "again_processor_seconds": summary(processor)}
    write_record("idle", {"posts": POSTS, "repeats": REPEATS}, results)


def _fill(folder: Path, cache: Path, backbone: BackboneOptions) -> None:
    posts = read_posts(folder)
    resolved = LoadedBackbone.load(backbone, ExtractOptions(cache=cache)).resolved
    contents, _ = contents_of(posts, backbone.modality, cache)
    count, text = len(contents), backbone.modality is Modality.TEXT
    rows = Rows(
        ids=[item.id for item in contents],
        digests=[item.digest for item in contents],
        pooled=np.zeros((count, 384), np.float16),
        hidden=np.zeros((count * TOKENS, 384) if text else (count, 1, 384), np.float16),
        lengths=np.full(count, TOKENS) if text else None,
    )
    with open_writer(CacheFolder(cache), posts.name, resolved.fingerprint) as writer:
        writer.commit(rows)
        writer.finish(rows.ids, {})


def _run(command: list[str]) -> None:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    computed = [row["extracted"] for row in json.loads(done.stdout)]
    if any(computed):
        raise AssertionError(f"something was to do: {computed}")


if __name__ == "__main__":
    main()
