"""The cache's writing and reading against plain system calls over the same bytes, page cache warm.

Every read of the cache checks checksums; the plain calls check nothing.
"""

import os
import tempfile
from pathlib import Path

import material
import numpy as np
from record import seconds_of, summary, write_record

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.content import Rows
from mvsa_pipe.cache.fingerprint import Fingerprint, StoredDtype
from mvsa_pipe.cache.part_files import write_part
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.modality import Modality
from mvsa_pipe.progress import NoProgress

POSTS, TOKENS, WIDTH, BATCH, REPEATS = 1024, 257, 768, 64, 7


def main() -> None:
    """Measures writing, loading and shuffled batches, and the size of a text cache."""
    with tempfile.TemporaryDirectory() as folder:
        results = {**_image_cache(Path(folder)), **_text_cache(Path(folder))}
    shape = {"posts": POSTS, "tokens": TOKENS, "width": WIDTH, "batch": BATCH}
    write_record("storage", {**shape, "repeats": REPEATS}, results)


def _image_cache(folder: Path) -> dict[str, object]:
    rows, own = _rows(), _fingerprint()
    path, plain = folder / "cache.h5", folder / "plain"
    payload = rows.hidden.nbytes + rows.pooled.nbytes
    write_part(path, "set", own, [rows])
    _plain_write(plain, rows)

    def write() -> None:
        write_part(path, "set", own, [rows])

    writes = [
        (seconds_of(write), seconds_of(lambda: _plain_write(plain, rows))) for _ in range(REPEATS)
    ]
    file = FeatureFile(path)
    every = np.arange(POSTS)
    buffer = np.empty(rows.hidden.shape, rows.hidden.dtype)
    into = buffer.reshape(-1).view(np.uint8).data
    place = file.place_of("hidden")
    loads = [
        (
            seconds_of(lambda: file.hidden(every, into=buffer)),
            seconds_of(lambda: _plain_read(path, [(place, len(into))], into)),
        )
        for _ in range(REPEATS)
    ]
    order = np.random.default_rng(0).permutation(POSTS).reshape(-1, BATCH)
    one = TOKENS * WIDTH * 2
    batch = buffer[:BATCH]
    view = batch.reshape(-1).view(np.uint8).data

    def shuffled() -> None:
        for chosen in order:
            file.hidden(chosen, into=batch)

    def shuffled_plain() -> None:
        for chosen in order:
            _plain_read(path, [(place + int(row) * one, one) for row in chosen], view)

    shuffles = [(seconds_of(shuffled), seconds_of(shuffled_plain)) for _ in range(REPEATS)]
    return {
        "payload_bytes": payload,
        "write_speed_over_plain": summary([plain / own for own, plain in writes]),
        "load_speed_over_preadv": summary([plain / own for own, plain in loads]),
        "shuffled_speed_over_preadv": summary([plain / own for own, plain in shuffles]),
        "load_mb_per_second": summary([rows.hidden.nbytes / 1e6 / own for own, _ in loads]),
    }


def _text_cache(folder: Path) -> dict[str, object]:
    posts = material.posts(2000, folder)
    text: BackboneOptions = material.backbones()[0]
    file = extract(posts, text, ExtractOptions(cache=folder / "cache"), NoProgress()).file
    header = file.header
    tokens = int(header.offsets[-1])
    wanted = tokens * header.width * 2
    return {
        "text_file_bytes_over_tokens": file.path.stat().st_size / wanted,
        "text_pooled_bytes_over_tokens": len(header.ids) * header.width * 2 / wanted,
        "text_file_bytes_over_features": file.path.stat().st_size / header.payload_bytes,
        "mean_tokens": tokens / len(header.ids),
    }


def _rows() -> Rows:
    draw = np.random.default_rng(0)
    hidden = draw.standard_normal((POSTS, TOKENS, WIDTH), np.float32).astype(np.float16)
    ids = [str(n) for n in range(POSTS)]
    return Rows(ids, ids, np.ascontiguousarray(hidden[:, 0]), hidden)


def _fingerprint() -> Fingerprint:
    return Fingerprint(
        "bench", Modality.IMAGE, "", {}, "last", "cls", "float32", StoredDtype.FLOAT16
    )


def _plain_write(path: Path, rows: Rows) -> None:
    """A buffered write of the same bytes to a new file, synced as the cache's are."""
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.write(rows.pooled.data)
        file.write(rows.hidden.data)
        file.flush()
        os.fsync(file.fileno())


def _plain_read(path: Path, ranges: list[tuple[int, int]], into: memoryview) -> None:
    at = 0
    with path.open("rb", buffering=0) as file:
        for place, size in ranges:
            done = 0
            while done < size:
                done += os.preadv(file.fileno(), [into[at + done : at + size]], place + done)
            at += size


if __name__ == "__main__":
    main()
