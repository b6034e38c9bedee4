"""Writes synthetic posts whose best possible accuracies are known.

Posts of the additive relation are written in MVSA-Single's layout, whose rule combines the labels
of text and picture to the post's; those of the other relations as a table with all three labels.
"""

import csv
import io
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mvsa_pipe.disk import storage_errors
from mvsa_pipe.durable import write_json
from mvsa_pipe.errors import DataError, StorageError, name_some
from mvsa_pipe.posts.dataset_path import MARKER
from mvsa_pipe.posts.readers.mvsa import LABEL_LIST
from mvsa_pipe.posts.readers.table import IMAGE_LABEL, TEXT_LABEL
from mvsa_pipe.posts.synthetic.art import picture, tweet
from mvsa_pipe.posts.synthetic.ceilings import Ceilings, expected_ceilings, scored_ceilings
from mvsa_pipe.posts.synthetic.config import Relation, SyntheticConfig
from mvsa_pipe.posts.synthetic.relations import Cues, Kind, draw

TRUTH = "truth.json"
_TABLE = "posts.csv"


@dataclass(frozen=True)
class SyntheticTruth:
    """Ground truth of written posts.

    Attributes:
        folder: Their folder.
        name: The data set's name.
        expected: Best possible accuracies over all posts that could have been drawn.
        realised: The same readers' accuracies on the posts that were drawn.
    """

    folder: Path
    name: str
    expected: Ceilings
    realised: Ceilings


def bayes_accuracy(config: SyntheticConfig) -> Ceilings:
    """Best possible accuracies for a configuration, by exact enumeration."""
    return expected_ceilings(config.relation, config.strength, config.noise)


def write_synthetic(folder: Path, config: SyntheticConfig) -> SyntheticTruth:
    """Writes the posts completely or not at all; keeps posts of the same configuration.

    Raises:
        DataError: The folder contains something else.
        StorageError: Writing fails.
    """
    if not _holds(folder, config):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DataError(
                "The folder of synthetic posts contains something else",
                where=folder,
                expected=f"nothing, or all posts of {config.as_record()}",
                hint="remove it, or name another folder",
            )
        _write_in_place(folder, config)
    return SyntheticTruth(folder, config.name, bayes_accuracy(config), realised_ceilings(folder))


def _write_in_place(folder: Path, config: SyntheticConfig) -> None:
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        # Thousands of small files are not synced one by one; ``_holds`` finds those that a power
        # cut emptied.
        with storage_errors(folder):
            shutil.rmtree(temporary, ignore_errors=True)
            _write(temporary, config)
            temporary.replace(folder)
    except StorageError:
        # Another process may have put the same posts there meanwhile.
        if not _holds(folder, config):
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(folder: Path, config: SyntheticConfig) -> None:
    generator = np.random.default_rng(config.seed)
    drawn = draw(config.relation, config.strength, config.noise, config.posts, generator)
    (folder / "data").mkdir(parents=True)
    truth = {}
    for number, (_, cues) in enumerate(drawn, start=1):
        text_path, image_path = _files(folder, str(number))
        text_path.write_text(tweet(cues.text, generator) + "\n", encoding="utf-8")
        image_path.write_bytes(picture(cues.image, config.image_px, generator))
        truth[str(number)] = asdict(cues)
    if config.relation is Relation.ADDITIVE:
        _write_list(folder, [kind for kind, _ in drawn])
    else:
        _write_table(folder, [kind for kind, _ in drawn])
    ceilings = asdict(bayes_accuracy(config))
    write_json(folder / TRUTH, {"config": config.as_record(), "posts": truth})
    write_json(folder / MARKER, {"name": config.name, "ceilings": ceilings})


def _write_list(folder: Path, kinds: list[Kind]) -> None:
    """MVSA's list of the labels of text and picture."""
    pairs = (",".join(kind.pair or ()) for kind in kinds)
    lines = ["ID\ttext,image", *(f"{number}\t{pair}" for number, pair in enumerate(pairs, 1))]
    (folder / LABEL_LIST).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_table(folder: Path, kinds: list[Kind]) -> None:
    """A table of posts; the labels of text and picture are empty where there are none."""
    cells = io.StringIO()
    writer = csv.writer(cells, lineterminator="\n")
    writer.writerow(["id", "text", "image", "label", TEXT_LABEL, IMAGE_LABEL])
    for number, kind in enumerate(kinds, start=1):
        text_path, image_path = _files(folder, str(number))
        text = text_path.read_text(encoding="utf-8").strip()
        image = image_path.relative_to(folder).as_posix()
        writer.writerow([number, text, image, kind.label, *(kind.pair or ("", ""))])
    (folder / _TABLE).write_text(cells.getvalue(), encoding="utf-8")


def _files(folder: Path, post_id: str) -> tuple[Path, Path]:
    return folder / "data" / f"{post_id}.txt", folder / "data" / f"{post_id}.jpg"


def _holds(folder: Path, config: SyntheticConfig) -> bool:
    """Whether all posts of a configuration are there; a power cut may have emptied files."""
    if not (folder / MARKER).is_file() or not (folder / TRUTH).is_file():
        return False
    written, cues = _read_truth(folder)
    return written == config.as_record() and all(
        path.is_file() and path.stat().st_size > 0
        for post_id in cues
        for path in _files(folder, post_id)
    )


def _read_truth(folder: Path) -> tuple[dict[str, str | int | float], dict[str, Cues]]:
    path = folder / TRUTH
    try:
        truth = json.loads(path.read_bytes())
        return truth["config"], {post_id: Cues(**cues) for post_id, cues in truth["posts"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            "This folder lacks the record of its synthetic posts",
            where=path,
            expected="a folder that mvsa quickstart or mvsa data synthesize wrote",
            found=error,
            hint=f"remove {folder}; it is written again when needed",
        ) from error


def realised_ceilings(folder: Path, ids: Iterable[str] | None = None) -> Ceilings:
    """The Bayes-optimal readers' accuracies on written posts, or on some of them by id.

    Raises:
        DataError: The folder contains no synthetic posts, or others.
    """
    config, cues = _read_truth(folder)
    wanted = list(cues) if ids is None else list(ids)
    missing = [post_id for post_id in wanted if post_id not in cues]
    if missing or not wanted:
        raise DataError(
            f"{len(missing):,} posts are not among the synthetic ones"
            if missing
            else "No posts were named",
            where=folder,
            expected=f"ids from 1 to {len(cues)}",
            found=name_some(missing) or None,
        )
    return scored_ceilings(
        (cues[post_id] for post_id in wanted),
        Relation(str(config["relation"])),
        float(config["strength"]),
        float(config["noise"]),
    )
