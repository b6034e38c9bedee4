"""``read_posts``: the posts of a data set, from a path and keywords."""

from pathlib import Path
from typing import Any

from mvsa_pipe.api.keywords import as_path, build
from mvsa_pipe.posts import PostSet, ReadOptions
from mvsa_pipe.posts import read_posts as read


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
