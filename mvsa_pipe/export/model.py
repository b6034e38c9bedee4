"""An exported folder at work: texts and pictures in, classes and probabilities out."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mvsa_pipe.devices import resolve_device
from mvsa_pipe.errors import ConfigError, DataError, MvsaError, RunError, name_some
from mvsa_pipe.export.backbone import RunBackbone, read_backbone
from mvsa_pipe.export.layout import CONFIG, EXPORT_SCHEMA
from mvsa_pipe.extraction.in_memory import ContentsByModality, Forwards
from mvsa_pipe.features.batch import Field
from mvsa_pipe.features.options import FeatureOptions
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.model import Model
from mvsa_pipe.heads.own import SOURCE, SOURCE_FILE, recorded_head
from mvsa_pipe.json_schema import read_json
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts.contents import Content
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.runs.inference import PostProbabilities, answers_one_half, predict_contents
from mvsa_pipe.user_code import UnusableRecordError

PictureSource = str | Path | bytes


@dataclass(frozen=True)
class ExportedModel:
    """A head with the backbones that it was trained on, in the arithmetic that it was trained on.

    Attributes:
        classes: Names of the classes, in the order of the probabilities.
        head: The head, in eval mode, or the baseline.
        parts: The backbone of each modality that the head reads.
        image_grid: Image tokens are averaged to so many rows and columns; 0 keeps all.
        device: Where all of it computes.
        answers_one_half: Whether the head was trained to do without text or picture.
    """

    classes: tuple[str, ...]
    head: Model
    parts: dict[Modality, RunBackbone]
    image_grid: int
    device: torch.device
    answers_one_half: bool = False

    def predict(
        self, texts: Sequence[str] | None = None, images: Sequence[PictureSource] | None = None
    ) -> list[str]:
        """The most probable class of every post.

        Args:
            texts: One text a post; may be left out where the head reads none. A model that was
                trained with ``--modality-dropout`` takes ``None`` for all or some of them, and
                warns that it answers from the picture alone.
            images: One picture a post, as a path or as a file's bytes; alike.

        Raises:
            ConfigError: What the head reads is missing, or there are not as many of both.
            DataError: Pictures cannot be read; names them by their places.
        """
        best = self.predict_proba(texts, images).argmax(axis=1)
        return [self.classes[int(place)] for place in best]

    def predict_proba(
        self, texts: Sequence[str] | None = None, images: Sequence[PictureSource] | None = None
    ) -> NDArray[np.float32]:
        """Probability of each class ``[N, C]`` for every post, taken as by ``predict``.

        Raises:
            ConfigError: As ``predict``.
            DataError: As ``predict``.
        """
        groups = _by_halves(self._contents(texts, images))
        if not groups:
            return np.zeros((0, len(self.classes)), np.float32)
        answered = [self._answered(contents) for contents in groups]
        faults = {i: why for one in answered for i, why in one.faults.items()}
        if faults:
            raise DataError(
                f"{len(faults):,} of these pictures cannot be read",
                found=name_some(f"images[{i}]: {why}" for i, why in faults.items()),
            )
        for contents, one in zip(groups, answered, strict=True):
            if len(contents) < len(self.parts):
                (half,) = contents
                warnings.warn(
                    f"answered from the {half} alone: {len(one.ids):,} posts", stacklevel=3
                )
        order = np.argsort([int(post_id) for one in answered for post_id in one.ids])
        return np.concatenate([one.probabilities for one in answered])[order]

    @property
    def forwards(self) -> Forwards:
        """The backbone of each modality as it computes."""
        return {modality: [part.on(self.device)] for modality, part in self.parts.items()}

    def _answered(self, contents: ContentsByModality) -> PostProbabilities:
        """Answers posts that have the same halves."""
        return predict_contents(
            self.head,
            contents,
            self.forwards,
            FeatureOptions(self.image_grid),
            NoProgress(),
            {item.id: item.text for item in contents.get(Modality.TEXT, ())},
        )

    def _contents(
        self, texts: Sequence[str] | None, images: Sequence[PictureSource] | None
    ) -> dict[Modality, list[Content]]:
        """What the head reads of every post that has it."""
        given: dict[Modality, Sequence[Any] | None] = {
            Modality.TEXT: texts,
            Modality.IMAGE: images,
        }
        wrong = isinstance(texts, str) or isinstance(images, PictureSource)  # one post, not a list
        sizes = {f"{m}s": len(v) for m, v in given.items() if v is not None and not wrong}
        count = max(sizes.values(), default=0)
        lists: dict[Modality, Sequence[Any]] = {}
        for modality in self.parts:
            values = given[modality]
            lists[modality] = [None] * count if values is None else values
        none = wrong or len(set(sizes.values())) != 1 or all(given[m] is None for m in self.parts)
        lacking = any(value is None for values in lists.values() for value in values)
        if none or (lacking and not self._answers(lists)):
            raise ConfigError(
                "This model needs what its head reads of every post, in lists of one length",
                expected=" and ".join(f"{modality}s=[…]" for modality in self.parts),
                found=", ".join(f"{count} {name}" for name, count in sizes.items()) or "no lists",
            )
        makers = {Modality.TEXT: _text, Modality.IMAGE: _picture}
        return {
            m: [makers[m](n, v) for n, v in enumerate(values) if v is not None]
            for m, values in lists.items()
        }

    def _answers(self, lists: dict[Modality, Sequence[Any]]) -> bool:
        """Whether posts that lack a half can be answered: each has the other."""
        posts = zip(*lists.values(), strict=True)
        return self.answers_one_half and all(any(v is not None for v in own) for own in posts)


def _by_halves(contents: dict[Modality, list[Content]]) -> list[ContentsByModality]:
    """Posts in groups that have the same halves."""
    there: dict[str, tuple[Modality, ...]] = {}
    for modality, items in contents.items():
        for item in items:
            there[item.id] = (*there.get(item.id, ()), modality)
    return [
        {m: [item for item in contents[m] if there[item.id] == halves] for m in halves}
        for halves in dict.fromkeys(there.values())
    ]


def _text(place: int, text: str) -> Content:
    return Content(str(place), "", text=text.replace("\0", ""))


@dataclass(frozen=True, slots=True)
class _Given(Content):
    """A picture that the caller has, or names by its path."""

    picture: PictureSource = b""

    def read_image(self) -> tuple[bytes, str]:
        """Its bytes, and how messages name it.

        Raises:
            DataError: There is no such file.
        """
        if isinstance(self.picture, bytes):
            return self.picture, f"{len(self.picture):,} bytes"
        try:
            return Path(self.picture).read_bytes(), str(self.picture)
        except OSError as error:
            raise DataError(f"There is no such picture: {self.picture}", found=error) from error


def _picture(place: int, picture: PictureSource) -> Content:
    return _Given(str(place), "", picture=picture)


def open_exported(
    folder: Path, device: str, head: str | type[FusionHead] | None = None
) -> ExportedModel:
    """Loads an exported folder.

    Args:
        folder: The folder.
        device: Where it computes.
        head: The class of an own head, as of ``recorded_head``.

    Raises:
        RunError: It is none, or a file is missing or damaged.
        ConfigError: The device is absent.
    """
    where = resolve_device(device)
    config = read_config(folder)
    try:
        kind, remark = recorded_head(_with_own_copy(config, folder), folder, head)
        if remark:
            warnings.warn(remark, stacklevel=3)
        path = folder / kind.file
        model = kind.load(config, path.read_bytes(), path, where)
        parts = {
            Modality(name): read_backbone(folder, Modality(name), record)
            for name, record in config["backbones"].items()
        }
        classes, grid = tuple(config["classes"]), int(config["image_grid"])
    except UnusableRecordError as error:
        call = f'load_exported("{folder}", head="{folder / SOURCE_FILE}:CLASS")'
        raise UnusableRecordError(
            error.what,
            where=error.where,
            expected=error.expected,
            found=error.found,
            hint=f"read its code; if you trust it, {call}",
        ) from error
    except RunError as error:
        raise RunError(
            error.what,
            where=error.where,
            expected=error.expected,
            found=error.found,
            hint="mvsa export writes it again",
        ) from error
    except MvsaError:
        raise
    except (KeyError, TypeError, ValueError, OSError, RuntimeError) as error:
        raise RunError(
            "This exported folder is damaged",
            where=folder,
            found=f"{type(error).__name__}: {error}",
            hint="mvsa export writes it again",
        ) from error
    for part in parts.values():
        part.backbone.to(where)
    one_half = answers_one_half(config.get("training", {}), model)
    return ExportedModel(classes, model, parts, grid, where, one_half)


def _with_own_copy(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The configuration with the own head's file where it lies, in the folder."""
    if "file" not in config.get(SOURCE, {}):
        return config
    return config | {SOURCE: config[SOURCE] | {"file": str((folder / SOURCE_FILE).resolve())}}


def read_config(folder: Path) -> dict[str, Any]:
    """An exported folder's ``config.json``.

    Raises:
        RunError: It is missing, damaged, or of another version.
    """
    try:
        config = read_json(folder / CONFIG)
        schema = config.get("exported_schema")
    except (OSError, ValueError, AttributeError) as error:
        raise RunError(
            "There is no exported model here",
            where=folder,
            expected="a folder that mvsa export wrote",
            found=error,
        ) from error
    if schema != EXPORT_SCHEMA:
        raise RunError(
            "This is no exported model, or one of another version",
            where=folder,
            expected=f"exported_schema {EXPORT_SCHEMA} in its {CONFIG}",
            found=schema,
            hint="mvsa export RUN --output FOLDER writes one",
        )
    return dict(config)


def needed(head: Model) -> list[Modality]:
    """The modalities that a head reads."""
    modalities = {field.modality for field in head.needs}
    return [modality for modality in Modality if modality in modalities]


def declared(head: Model) -> list[Field]:
    """The features that a head reads, in their fixed order."""
    return [field for field in Field if field in head.needs]
