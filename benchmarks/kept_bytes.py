"""Bytes that caches take on the disk for each post, with hidden states and without.

Nothing here is timed.
"""

import tempfile
from pathlib import Path

import material
from record import write_record

from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.layers import Keep
from mvsa_pipe.progress import NoProgress

POSTS, POSTS_OF_LARGE = 500, 24


def main() -> None:
    """Extracts both kinds with each backbone and records their sizes."""
    results = {}
    chosen = {material.label(each): (each, POSTS) for each in material.backbones()}
    if material.real():
        names = ("bert", "resnet50", "dinov2")
        chosen |= {name: (material.full_size(name), POSTS_OF_LARGE) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        for label, (backbone, count) in chosen.items():
            posts, sizes = material.posts(count, Path(folder)), {}
            for keep in Keep:
                options = ExtractOptions(cache=Path(folder) / label / keep, keep=keep)
                file = extract(posts, backbone, options, NoProgress()).file
                sizes[f"{keep}_payload_bytes_a_post"] = file.header.payload_bytes / count
                sizes[f"{keep}_file_bytes_a_post"] = file.path.stat().st_size / count
            results[label] = {"posts": count, **{k: round(v, 1) for k, v in sizes.items()}}
    write_record("kept_bytes", {"real": material.real()}, results)


if __name__ == "__main__":
    main()
