"""Few posts for tests that extract them."""

from dataclasses import replace
from pathlib import Path

from mvsa_pipe.posts import PostSet, read_posts
from mvsa_pipe.posts.synthetic.config import SyntheticConfig
from mvsa_pipe.posts.synthetic.write import write_synthetic


def twelve_posts(folder: Path, image_px: int) -> PostSet:
    """The first twelve of thirty synthetic posts, written to a folder."""
    write_synthetic(folder, SyntheticConfig(posts=30, image_px=image_px))
    found = read_posts(folder)
    return replace(found, posts=found.posts[:12])
