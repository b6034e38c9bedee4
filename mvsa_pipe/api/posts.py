"""``read_posts`` and ``synthesize``: the posts of a data set, from a path and keywords."""

from pathlib import Path
from typing import Any

from mvsa_pipe.api.keywords import as_path, build
from mvsa_pipe.posts import PostSet, ReadOptions
from mvsa_pipe.posts import read_posts as read
from mvsa_pipe.posts.synthetic.config import SyntheticConfig


def read_posts(path: str | Path, **options: Any) -> PostSet:  # noqa: ANN401
    """All posts at a path: a folder, a zip read in place, or one table of posts.

    Args:
        path: Where the posts are.
        options: Options of ``ReadOptions``, such as ``format``, ``label_column``, ``labels``;
            ``require_labels=False`` reads posts without labels.

    Raises:
        DataError: Nothing is there, no layout is recognised, or rows cannot be used.
        ConfigError: An option cannot be used, or does not go with the format.
    """
    return read(as_path("path", path), build(ReadOptions, options))


def synthesize(folder: str | Path, **options: Any) -> PostSet:  # noqa: ANN401
    """Writes posts whose label follows a chosen relation of text and picture, and reads them.

    Their best possible accuracies are computed exactly; ``mvsa.json`` in the folder holds them, and
    a bench of these posts shows them. Posts that are there already are kept.

    Args:
        folder: A folder that is new, empty, or holds the same posts.
        options: Options of ``SyntheticConfig``: ``relation``, ``posts``, ``strength``, ``noise``,
            ``seed``, ``image_px``.

    Raises:
        ConfigError: An option cannot be used.
        DataError: The folder contains something else.
        StorageError: Writing fails.
    """
    from mvsa_pipe.posts.synthetic.write import write_synthetic  # reads and writes pictures

    path = as_path("folder", folder)
    write_synthetic(path, build(SyntheticConfig, options))
    return read(path)
