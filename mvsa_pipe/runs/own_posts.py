"""The posts that a run was made from, read again and compared with what the run recorded."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from mvsa_pipe.errors import DataError
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import PostSet, ReadOptions, read_posts
from mvsa_pipe.runs.reading import Run


def own_posts(run: Run, only: Collection[Modality] | None = None) -> PostSet:
    """The data set of a run, with the ids and labels that it had when the run was made.

    Args:
        run: The run.
        only: What is read of each post; by default what was read for the run.

    Raises:
        DataError: The posts were built in memory, or their ids or labels have changed since.
        MvsaError: As ``read_posts``.
    """
    data = run.config["data"]
    if data["path"] is None:
        raise DataError(
            "This run's posts were built in memory, so that they cannot be read again",
            where=run.path,
            expected="a run over posts in a folder, an archive or a table",
            hint="write them to a table, and run mvsa fit --data TABLE",
        )
    read = run.read_options if only is None else reading_only(run.read_options, only)
    posts = read_posts(Path(data["path"]), read)
    recorded = data.get("digest")
    if recorded not in (None, posts.digest):
        raise DataError(
            "The posts or their labels changed since the run",
            where=data["path"],
            expected=f"ids and labels of digest {recorded}",
            found=posts.digest,
            hint="mvsa fit with the same options makes the run again",
        )
    return posts


def reading_only(options: ReadOptions, modalities: Collection[Modality]) -> ReadOptions:
    """The same options for some modalities alone; posts may lack the other one."""
    return replace(
        options, read_text=Modality.TEXT in modalities, read_image=Modality.IMAGE in modalities
    )
