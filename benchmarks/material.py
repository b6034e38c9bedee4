"""What the benchmarks run on: real posts and weights where they are, else synthetic and tiny.

Full-size architectures have weights drawn at random: their speed is that of published ones.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch
from torchvision import models
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    BitImageProcessor,
    Dinov2Config,
    Dinov2Model,
)

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.images import decode_image
from mvsa_pipe.posts import PostSet, read_posts
from mvsa_pipe.posts.storage.base import FolderStorage
from mvsa_pipe.posts.synthetic.config import SyntheticConfig
from mvsa_pipe.posts.synthetic.write import write_synthetic

_SHARED = Path(__file__).parents[2] / "shared"
_POSTS = _SHARED / "data" / "MVSA_Single_dev.zip"
_TEXT = _SHARED / "weights" / "minilm-l6"
_IMAGE = _SHARED / "weights" / "squeezenet1_0.safetensors"


def real() -> bool:
    """Whether real posts and weights lie beside the project."""
    return _POSTS.is_file() and _TEXT.is_dir() and _IMAGE.is_file()


def data_path(scratch: Path) -> Path:
    """The real posts for a command line, a folder of synthetic ones where there are none."""
    return _POSTS if real() else write_synthetic_folder(scratch)


def posts(count: int, scratch: Path) -> PostSet:
    """The first ``count`` posts; synthetic ones where there are not so many real ones."""
    if real():
        every = read_posts(_POSTS)
        if len(every) >= count:
            return replace(every, posts=every.posts[:count])
    folder = scratch / f"synthetic-{count}"
    if not folder.is_dir():
        write_synthetic(folder, SyntheticConfig(posts=max(count, 30)))
    every = read_posts(folder)
    return replace(every, posts=every.posts[:count])


def many_posts(count: int, scratch: Path) -> Path:
    """A folder of ``count`` posts in MVSA layout, made of a few hundred pictures over and over."""
    few = write_synthetic_folder(scratch)
    pictures = [path.read_bytes() for path in sorted((few / "data").glob("*.jpg"))]
    folder = scratch / f"many-{count}"
    (folder / "data").mkdir(parents=True)
    lines = ["ID\ttext,image"]
    for number in range(1, count + 1):
        # Written, not linked: a digest is remembered by the file's own time stamps.
        (folder / "data" / f"{number}.jpg").write_bytes(pictures[number % len(pictures)])
        (folder / "data" / f"{number}.txt").write_text(f"post {number} says little")
        lines.append(f"{number}\tpositive,positive")
    (folder / "labelResultAll.txt").write_text("\n".join(lines) + "\n")
    return folder


def enlarged(posts: PostSet, scale: int, scratch: Path) -> PostSet:
    """The same posts with pictures several times as wide and high, as JPEGs in a folder."""
    folder = scratch / "enlarged"
    folder.mkdir()
    for post in posts.posts:
        image = decode_image(posts.storage.read(str(post.image)), str(post.image))
        large = image.resize((image.width * scale, image.height * scale))
        large.save(folder / f"{post.id}.jpg", quality=90)
    renamed = tuple(replace(post, image=f"{post.id}.jpg") for post in posts.posts)
    return replace(posts, posts=renamed, storage=FolderStorage(folder))


def write_synthetic_folder(scratch: Path) -> Path:
    """A few hundred synthetic posts with small pictures."""
    folder = scratch / "few"
    if not folder.is_dir():
        write_synthetic(folder, SyntheticConfig(posts=300))
    return folder


def backbones() -> tuple[BackboneOptions, BackboneOptions]:
    """One text and one image backbone."""
    if real():
        return (
            BackboneOptions(f"hf-text:{_TEXT}"),
            BackboneOptions("torchvision:squeezenet1_0", weights=str(_IMAGE)),
        )
    return BackboneOptions("tiny-text"), BackboneOptions("tiny-image")


@cache
def full_size(name: str) -> BackboneOptions:
    """``bert``, ``resnet50`` or ``dinov2`` in full size, saved once for this process.

    Raises:
        FileNotFoundError: bert needs a tokenizer, which lies beside the real weights.
    """
    folder = Path(mkdtemp(prefix="mvsa-bench-"))
    torch.manual_seed(0)
    if name == "resnet50":
        path = folder / "resnet50.pth"
        torch.save(models.resnet50(weights=None).state_dict(), path)
        return BackboneOptions("resnet50", weights=str(path))
    if name == "dinov2":
        Dinov2Model(Dinov2Config(hidden_size=768, image_size=518)).save_pretrained(folder)
        return BackboneOptions("dinov2", weights=str(folder))
    if not _TEXT.is_dir():
        raise FileNotFoundError(f"{_TEXT}: no tokenizer for bert")
    BertModel(BertConfig()).save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(_TEXT)).save_pretrained(folder)
    return BackboneOptions("bert", weights=str(folder))


def light_image(scratch: Path) -> Path:
    """A vision transformer of one layer over 64 pixels, as wide as a large one: 35 kB a post."""
    folder = scratch / "light"
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=1024, num_hidden_layers=1, mlp_ratio=1, image_size=64, patch_size=16,
        num_attention_heads=16,
    )  # fmt: skip
    Dinov2Model(config).save_pretrained(folder)
    size = {"height": 64, "width": 64}
    BitImageProcessor(size={"shortest_edge": 64}, crop_size=size).save_pretrained(folder)
    return folder


def convolutional(name: str) -> BackboneOptions:
    """A small torchvision classifier with weights drawn at random: decoding bounds it."""
    torch.manual_seed(0)
    path = Path(mkdtemp(prefix="mvsa-bench-")) / f"{name}.pth"
    torch.save(models.get_model(name, weights=None).state_dict(), path)
    return BackboneOptions(f"torchvision:{name}", weights=str(path))


def label(backbone: BackboneOptions) -> str:
    """A backbone's name without this machine's paths."""
    return f"{backbone.family}:{Path(backbone.argument).name}".rstrip(":")
