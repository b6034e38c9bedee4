"""What the benchmarks run on: real posts and weights where they are, else synthetic and tiny."""

from dataclasses import replace
from pathlib import Path

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.posts import PostSet, read_posts
from mvsa_pipe.posts.synthetic import SyntheticConfig, write_synthetic

_SHARED = Path(__file__).parents[2] / "shared"
_POSTS = _SHARED / "data" / "MVSA_Single_dev.zip"
_TEXT = _SHARED / "weights" / "minilm-l6"
_IMAGE = _SHARED / "weights" / "squeezenet1_0.safetensors"


def real() -> bool:
    """Whether real posts and weights lie beside the project."""
    return _POSTS.is_file() and _TEXT.is_dir() and _IMAGE.is_file()


def posts(count: int, scratch: Path) -> PostSet:
    """The first ``count`` posts."""
    if real():
        every = read_posts(_POSTS)
    else:
        folder = scratch / "synthetic"
        write_synthetic(folder, SyntheticConfig(posts=max(count, 30)))
        every = read_posts(folder)
    return replace(every, posts=every.posts[:count])


def backbones() -> tuple[BackboneOptions, BackboneOptions]:
    """One text and one image backbone."""
    if real():
        return (
            BackboneOptions(f"hf-text:{_TEXT}"),
            BackboneOptions("torchvision:squeezenet1_0", weights=str(_IMAGE)),
        )
    return BackboneOptions("tiny-text"), BackboneOptions("tiny-image")
