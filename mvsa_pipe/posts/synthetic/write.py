"""Writes synthetic posts in MVSA-Single's layout, with the best possible accuracy known."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mvsa_pipe.disk import storage_errors
from mvsa_pipe.durable import write_json
from mvsa_pipe.errors import ConfigError, DataError, StorageError, name_some
from mvsa_pipe.posts.dataset_path import MARKER
from mvsa_pipe.posts.readers.mvsa import LABEL_LIST, NEUTRAL
from mvsa_pipe.posts.synthetic.art import picture, tweet
from mvsa_pipe.posts.synthetic.ceilings import (
    JOINT,
    Ceilings,
    Cues,
    consolidated_label,
    expected_ceilings,
    scored_ceilings,
)

TRUTH = "truth.json"
# Incremented when the same configuration writes other posts.
_VERSION = 2


@dataclass(frozen=True)
class SyntheticConfig:
    """Configuration of synthetic posts.

    Attributes:
        posts: Number of posts.
        seed: Seed of all draws.
        image_px: Width and height of each picture.
        ambiguity: Probability that a text, or a picture, shows neutral instead of its label.

    Raises:
        ConfigError: A value cannot be used; the message names the field.
    """

    posts: int = 1200
    seed: int = 0
    image_px: int = 64
    ambiguity: float = 0.05

    def __post_init__(self) -> None:
        """Checks every field."""
        for field, least, most in (
            ("posts", 30, 1_000_000),
            ("seed", 0, 2**32 - 1),
            ("image_px", 16, 2048),
            ("ambiguity", 0.0, 0.99),
        ):
            value = getattr(self, field)
            if not least <= value <= most:
                raise ConfigError(
                    "Synthetic posts cannot be written with this value",
                    where=field,
                    expected=f"{least} to {most}",
                    found=value,
                )

    @property
    def name(self) -> str:
        """The data set's name; with a digest if the configuration is not the default."""
        plain = f"synthetic-{self.posts}-seed-{self.seed}"
        if self == SyntheticConfig(posts=self.posts, seed=self.seed):
            return plain
        digest = hashlib.sha256(json.dumps(self.as_record()).encode()).hexdigest()
        return f"{plain}-{digest[:8]}"

    def as_record(self) -> dict[str, int | float]:
        """The configuration as written beside the posts."""
        return {"version": _VERSION, **asdict(self)}


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
    return expected_ceilings(config.ambiguity)


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
    pairs = list(JOINT)
    drawn = generator.choice(len(pairs), size=config.posts, p=list(JOINT.values()))
    unclear = generator.random((config.posts, 2)) < config.ambiguity
    (folder / "data").mkdir(parents=True)
    lines, truth = ["ID\ttext,image"], {}
    for number, (pair, (text_unclear, image_unclear)) in enumerate(
        zip(drawn, unclear, strict=True), start=1
    ):
        text_label, image_label = pairs[pair]
        cues = Cues(
            NEUTRAL if text_unclear else text_label,
            NEUTRAL if image_unclear else image_label,
            consolidated_label(text_label, image_label),
        )
        text_path, image_path = _files(folder, str(number))
        text_path.write_text(tweet(cues.text, generator) + "\n", encoding="utf-8")
        image_path.write_bytes(picture(cues.image, config.image_px, generator))
        lines.append(f"{number}\t{text_label},{image_label}")
        truth[str(number)] = asdict(cues)
    (folder / LABEL_LIST).write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_json(folder / TRUTH, {"config": config.as_record(), "posts": truth})
    write_json(folder / MARKER, {"name": config.name})


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


def _read_truth(folder: Path) -> tuple[dict[str, int | float], dict[str, Cues]]:
    path = folder / TRUTH
    try:
        truth = json.loads(path.read_bytes())
        return truth["config"], {post_id: Cues(**cues) for post_id, cues in truth["posts"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            "This folder lacks the record of its synthetic posts",
            where=path,
            expected="a folder that mvsa quickstart wrote",
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
    return scored_ceilings((cues[post_id] for post_id in wanted), float(config["ambiguity"]))
