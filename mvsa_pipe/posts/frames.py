"""Posts from tables in memory: a pandas frame, or a Hugging Face dataset."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.posts.in_memory import assemble
from mvsa_pipe.posts.post import PostSet

if TYPE_CHECKING:
    import pandas as pd


def posts_from_frame(
    frame: "pd.DataFrame",
    *,
    name: str,
    text: str | None = "text",
    image: str | None = "image",
    label: str | None = "label",
    id: str | None = None,  # noqa: A002  # the column's usual name
) -> PostSet:
    """Posts from a pandas frame, one a row.

    Args:
        frame: The rows.
        name: The data set's name in caches and records.
        text: Column of texts; ``None`` for none.
        image: Column of pictures: paths, ``PIL.Image`` objects, arrays ``[H, W, 3]``, or the bytes
            of files; ``None`` for none.
        label: Column of labels; ``None`` for posts without.
        id: Column of ids; the frame's index by default.

    Raises:
        ConfigError: A column is missing, or the name cannot be used.
        DataError: Rows cannot be used; the message names them.
    """
    columns = [str(column) for column in frame.columns]
    asked = {"text": text, "image": image, "label": label, "id": id}
    _require_columns(asked, columns, name)
    return assemble(
        name,
        _column(frame, id) if id is not None else frame.index.tolist(),
        None if text is None else _column(frame, text),
        None if image is None else _column(frame, image),
        None if label is None else _column(frame, label),
    )


def _column(frame: "pd.DataFrame", name: str) -> list[Any]:
    column = frame[name]
    if column.ndim != 1:
        raise ConfigError(
            "A column that is read occurs in the frame more than once", found=repr(name)
        )
    return list(column)


def posts_from_dataset(
    dataset: Any,  # noqa: ANN401  # of the optional package datasets
    *,
    name: str,
    text: str | None = "text",
    image: str | None = "image",
    label: str | None = "label",
    id: str | None = None,  # noqa: A002
) -> PostSet:
    """Posts from a Hugging Face ``datasets.Dataset``, one a row; pictures are read when needed.

    Files of pictures are read as they are: their pixels are not encoded anew.

    Args:
        dataset: One split of a dataset.
        name: The data set's name in caches and records.
        text: Column of texts; ``None`` for none.
        image: Column of pictures; ``None`` for none.
        label: Column of labels; those of a ``ClassLabel`` are given by their names. ``None`` for
            posts without.
        id: Column of ids; the number of the row, from 0, by default.

    Raises:
        ConfigError: The package is missing, this is no dataset with rows, a column is missing, or
            the name cannot be used.
        DataError: Rows cannot be used; the message names them.
    """
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(
            "Reading a Hugging Face dataset needs the package datasets",
            hint='pip install "mvsa-pipe[datasets]"',
        ) from error
    if not isinstance(dataset, datasets.Dataset):
        parts = ", ".join(map(repr, dataset)) if isinstance(dataset, dict) else ""
        raise ConfigError(
            "This is no dataset with rows",
            where=name,
            expected="a datasets.Dataset, that is one split",
            found=f"{type(dataset).__name__}{f' of {parts}' if parts else ''}",
            hint="name one: dataset['train']; load_dataset(..., streaming=False)",
        )
    dataset = dataset.with_format(None)
    asked = {"text": text, "image": image, "label": label, "id": id}
    _require_columns(asked, dataset.column_names, name)
    pictures = None
    if image is not None:
        chosen = dataset.select_columns([image])
        if isinstance(dataset.features[image], datasets.Image):
            chosen = chosen.cast_column(image, datasets.Image(decode=False))
        pictures = _Pictures(chosen, image)
    return assemble(
        name,
        range(len(dataset)) if id is None else list(dataset[id]),
        None if text is None else list(dataset[text]),
        pictures,
        None if label is None else _labels(dataset, label),
    )


def _labels(dataset: Any, column: str) -> list[Any]:  # noqa: ANN401
    """Labels, by their names where the dataset has names; -1 stands for none there."""
    names = getattr(dataset.features[column], "names", None)
    values = list(dataset[column])
    if names is None:
        return values
    return [None if value is None or value < 0 else names[value] for value in values]


class _Pictures(Sequence[Any]):
    """One column of a dataset, read row by row.

    Args:
        dataset: The dataset, with this column alone.
        column: The column.
    """

    def __init__(self, dataset: Any, column: str) -> None:  # noqa: ANN401
        self._dataset, self._column = dataset, column

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, row: Any) -> Any:  # noqa: ANN401  # as Sequence's
        return self._dataset[row][self._column]


def _require_columns(asked: Mapping[str, str | None], columns: Sequence[str], name: str) -> None:
    """Checks that the columns that are read are there.

    Raises:
        ConfigError: One is missing, or neither texts nor pictures are read.
    """
    missing = {key: column for key, column in asked.items() if column not in (None, *columns)}
    if missing:
        raise ConfigError(
            "1 column is missing" if len(missing) == 1 else f"{len(missing)} columns are missing",
            where=name,
            expected=", ".join(repr(column) for column in missing.values()),
            found=f"columns {', '.join(map(repr, columns))}",
            hint=f"name others: {', '.join(f'{key}=...' for key in missing)}; None where there "
            "is none",
        )
    if asked["text"] is None and asked["image"] is None:
        raise ConfigError(
            "Posts have neither text nor image", where=name, expected="text=, image=, or both"
        )
