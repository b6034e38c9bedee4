"""Predictions of a head, and the format of tables of predictions."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.durable import write_bytes
from mvsa_pipe.posts.tables.csv_rows import as_text_cell
from mvsa_pipe.tabular import Row, Tabular


@dataclass(frozen=True)
class Prediction:
    """A head's prediction for one post: a row of ``predictions.csv``.

    Attributes:
        post_id: The post.
        split: Its part.
        label: Its true class; empty if unknown.
        prediction: The most probable class.
        probabilities: One per class; six decimals if read from a file.
    """

    post_id: str
    split: str
    label: str
    prediction: str
    probabilities: Sequence[float]


class Predictions(Tabular, list[Prediction]):
    """Predictions with the classes that their probabilities are of.

    Args:
        rows: One prediction a post.
        classes: Names of the classes, in the order of the probabilities.
    """

    def __init__(self, rows: Iterable[Prediction], classes: Sequence[str]) -> None:
        super().__init__(rows)
        self.classes = tuple(classes)

    def table_rows(self) -> Iterator[Row]:
        """Post, part, label, prediction and one probability a class."""
        columns = probability_columns(self.classes)
        for row in self:
            named = {"post_id": row.post_id, "split": row.split, "label": row.label}
            shares = dict(zip(columns, row.probabilities, strict=True))
            yield {**named, "prediction": row.prediction, **shares}

    def table_title(self) -> str:
        """How many posts there are."""
        return f"{len(self):,} predictions"


def predictions_of(
    post_ids: Sequence[str],
    splits: Sequence[str],
    labels: Sequence[str],
    probabilities: NDArray[np.float32],
    classes: Sequence[str],
) -> Predictions:
    """One prediction per post from probabilities ``[N, C]``."""
    best = probabilities.argmax(axis=1)
    rows = (
        Prediction(post_id, split, label, classes[int(best[row])], probabilities[row].tolist())
        for row, (post_id, split, label) in enumerate(zip(post_ids, splits, labels, strict=True))
    )
    return Predictions(rows, classes)


def write_predictions(
    path: Path, predictions: Sequence[Prediction], classes: Sequence[str]
) -> None:
    """Writes one row per post: id, split, label, prediction, one probability per class.

    Raises:
        StorageError: The disk refuses; an older file is unchanged.
    """
    write_bytes(path, predictions_table(predictions, classes))


def predictions_table(predictions: Sequence[Prediction], classes: Sequence[str]) -> bytes:
    """The content of ``predictions.csv``."""
    header = ["post_id", "split", "label", "prediction", *probability_columns(classes)]
    rows = [
        [row.post_id, row.split, row.label, row.prediction, *probability_cells(row)]
        for row in predictions
    ]
    return csv_table(header, rows)


def probability_columns(classes: Sequence[str]) -> list[str]:
    """Column names of the probabilities in tables of predictions."""
    return [f"p_{name}" for name in classes]


def probability_cells(prediction: Prediction) -> list[str]:
    """The probabilities as written to tables of predictions."""
    return [f"{share:.6f}" for share in prediction.probabilities]


def csv_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """A table with one header line; formulas are written as text."""
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(map(as_text_cell, header))
    writer.writerows(map(as_text_cell, row) for row in rows)
    return table.getvalue().encode()
