"""Reads the posts at a path, in any known layout."""

from dataclasses import replace
from pathlib import Path

from mvsa_pipe.errors import ConfigError, DataError, name_some
from mvsa_pipe.posts.dataset_path import DatasetPath, open_path
from mvsa_pipe.posts.formats import FORMATS, Reader, ReadOptions
from mvsa_pipe.posts.post import PostSet
from mvsa_pipe.posts.readers.part_tables import READER as PUBLISHED

_DEFAULTS = ReadOptions()


def read_posts(path: Path, options: ReadOptions = _DEFAULTS) -> PostSet:
    """All posts at a path: a folder, a zip read in place, or one file of a data set.

    Unless the options name the format, it is detected at the path itself or one folder down.

    Raises:
        DataError: The path does not exist, no layout is recognised, or rows cannot be used.
        ConfigError: An option does not apply to the format.
    """
    start = open_path(path)
    name, reader, place = _recognise(start, options.format)
    _refuse_foreign_options(name, reader, options)
    posts = reader.read(place, options)
    if not posts.posts:
        raise DataError(
            "There are no posts",
            where=path,
            found=f"dropped: {dict(posts.dropped)}" if posts.dropped else "a list without rows",
        )
    if options.require_labels and all(post.label is None for post in posts.posts):
        raise DataError(
            "No post has a label",
            where=path,
            expected="a label for every post that is trained or tested on",
            hint="mvsa predict takes posts without labels",
        )
    return replace(posts, path=path, read=options)


def _recognise(start: DatasetPath, wanted: str | None) -> tuple[str, Reader, DatasetPath]:
    names = FORMATS.names if wanted is None else (wanted,)
    readers = {name: FORMATS.load(name) for name in names}
    if wanted in PUBLISHED.formats:  # the format of each part
        readers = {"published": replace(PUBLISHED, formats=(wanted,)), **readers}
    for places in ([start], start.folders()):
        matches = [match for place in places if (match := _first(readers, place)) is not None]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise DataError(
                "There are several data sets at this path",
                where=start.path,
                found=name_some([f"{place.where()} ({name})" for name, _, place in matches]),
                hint="name one of them",
            )
    raise _unrecognised(start, readers)


def _first(
    readers: dict[str, Reader], place: DatasetPath
) -> tuple[str, Reader, DatasetPath] | None:
    for name, reader in readers.items():
        if reader.recognises(place):
            return name, reader, place
    return None


def _unrecognised(start: DatasetPath, readers: dict[str, Reader]) -> DataError:
    present = start.files() + [f"{place.stem()}/" for place in start.folders()]
    parent = start.path.resolve().parent
    above = [name for name in ("labelResultAll.txt", "labels.csv") if (parent / name).is_file()]
    if start.path.is_dir() and above:
        hint = f"the list {above[0]} is one folder up: name {parent} instead"
    elif any(name.lower().endswith(".zip") for name in present):
        hint = "name the archive itself, or unpack it"
    else:
        hint = "name the format with --format, or the file that lists the posts"
    return DataError(
        "There is no known layout of posts at this path",
        where=start.path,
        expected="; or ".join(f"{name}: {reader.looks_for}" for name, reader in readers.items()),
        found=name_some(present),
        hint=hint,
    )


def _refuse_foreign_options(name: str, reader: Reader, options: ReadOptions) -> None:
    for field in ("task", "labels", "separator", "quoting", "encoding", "image_root"):
        value, default = getattr(options, field), getattr(_DEFAULTS, field)
        if value != default and field not in reader.takes:
            raise ConfigError(
                f"The format {name!r} has no {field} to choose",
                where=field,
                expected=f"{'nothing' if default is None else repr(str(default))}, or a data set "
                "of another format",
                found=repr(str(value)),
            )
