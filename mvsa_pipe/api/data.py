"""``load``: posts, split and cached features as one object that heads are trained on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.api.extract import Caches
from mvsa_pipe.api.keywords import as_path, build, refuse_unknown
from mvsa_pipe.api.screen import shown_progress
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.features.batch import POOLED, Field
from mvsa_pipe.features.source import FeatureSource, batch_of
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import PostSet, Split, protocol_tag
from mvsa_pipe.posts.check import CheckReport, check_posts
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.runs.prepare import Experiment, prepare, read_and_split
from mvsa_pipe.tabular import Row, Tabular

# Keywords of ``load`` that choose features; the caches' folder and backbones have names of their
# own there.
_CACHE_KEYWORDS = ("text", "image", "image_grid", "memory_gib", "layer_mix")


@dataclass(frozen=True, repr=False)
class Data(Tabular):
    """Posts, their split and where their features are cached; ``load`` makes it.

    Features are read when a head first needs them, and kept for the next one.

    Attributes:
        posts: The posts.
        split: Their split.
        choice: Where the posts came from, and how they are split, as records keep it.
        caches: Which caches their features are read from.
    """

    posts: PostSet
    split: Split
    choice: DataChoice
    caches: CacheChoice
    _loaded: list[tuple[frozenset[Field], Experiment]] = field(default_factory=list, compare=False)

    @property
    def protocol(self) -> str:
        """The protocol tag: results with different tags are not comparable."""
        return protocol_tag(self.posts, self.split)

    @property
    def parts(self) -> dict[str, int]:
        """How many posts each part of the split has."""
        return self.split.sizes()

    def experiment(self, needs: Iterable[Field]) -> Experiment:
        """What heads that read some features are trained and scored on.

        Raises:
            MvsaError: As ``prepare``.
        """
        wanted = frozenset(needs)
        for read, experiment in self._loaded:
            if wanted <= read and _halves(wanted) == _halves(read):
                return experiment
        self._loaded.clear()  # or features that share a type would be in memory twice
        experiment = prepare(self.choice, self.caches, wanted)
        self._loaded.append((wanted, experiment))
        return experiment

    def features(self, *needs: str) -> FeatureSource:
        """Features of all posts of the split, as tensors.

        Args:
            needs: ``text_hidden``, ``text_pooled``, ``image_hidden``, ``image_pooled``; the pooled
                ones unless named.

        Raises:
            ConfigError: A name is none of these.
            MvsaError: As ``prepare``.
        """
        return self.experiment(_fields(needs)).training_data.features

    def arrays(
        self, part: str | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.str_]]:
        """Pooled vectors of the texts ``[N, Dt]`` and pictures ``[N, Di]``, and the labels ``[N]``.

        Args:
            part: ``train``, ``val`` or ``test``; all posts of the split unless named.

        Raises:
            ConfigError: There is no such part.
            MvsaError: As ``prepare``.
        """
        import torch

        experiment = self.experiment(POOLED)
        if part is not None and part not in experiment.indices:
            raise ConfigError(
                "part cannot be used", expected=", ".join(experiment.indices), found=repr(part)
            )
        known = experiment.training_data
        every = torch.arange(len(known.features.post_ids))
        places = every if part is None else experiment.indices[part]
        batch = batch_of(known.features, places.to(known.labels.device), POOLED)
        assert batch.text_pooled is not None  # noqa: S101  # both were asked for
        assert batch.image_pooled is not None  # noqa: S101
        labels = np.array(self.posts.classes)[known.labels.cpu()[places].numpy()]
        text, image = (x.float().cpu().numpy() for x in (batch.text_pooled, batch.image_pooled))
        return text, image, labels

    def check(self) -> CheckReport:
        """What ``mvsa data check`` reports of these posts and their split.

        Every picture is decoded.
        """
        with shown_progress() as screen:
            return check_posts(self.posts, self.split, screen)

    def table_rows(self) -> list[Row]:
        """Posts of each class in each part."""
        labels = {post.id: post.label for post in self.posts.posts}
        pairs = [(part, labels[post_id]) for post_id, part in self.split.parts.items()]
        return [
            {"label": name} | {part: pairs.count((part, name)) for part in self.parts}
            for name in self.posts.classes
        ]

    def table_title(self) -> str:
        """Protocol, parts and backbones."""
        sizes = ", ".join(f"{count:,} {part}" for part, count in self.parts.items())
        backbones = ", ".join(
            f"{half}: {','.join(map(str, self.caches.alternatives(half)))}"
            for half in Modality
            if self.caches.alternatives(half) != (None,)
        )
        return f"{self.protocol}: {sizes}{'; ' if backbones else ''}{backbones}"


def load(
    posts: PostSet,
    caches: "Caches | Sequence[str] | str | Path | None" = None,
    *,
    split: str | Path = DataChoice.split,
    split_seed: int = DataChoice.split_seed,
    **options: Any,  # noqa: ANN401
) -> Data:
    """Posts with a split and cached features, ready for heads.

    Args:
        posts: The posts.
        caches: What ``extract`` returned; or names of backbones in the folder ``cache``; or another
            folder of caches, as a path. The newest caches of the folder ``cache`` by default.
        split: ``auto``, ``published``, ``random-8:1:1``, or the path of a split.
        split_seed: Seed of a random split.
        options: Options of ``CacheChoice``: ``text`` and ``image`` name backbones (``A+B`` reads
            both together, ``A,B`` lets ``bench`` compare them), ``image_grid``, ``layer_mix``,
            ``memory_gib``.

    Raises:
        ConfigError: An option cannot be used, or several backbones of one modality were extracted
            and none is chosen.
        DataError: The posts are of one class.
        SplitError: The split does not fit the posts.
    """
    refuse_unknown(options, _CACHE_KEYWORDS, where="load")
    chosen = build(CacheChoice, _named(caches, options))
    path = posts.path or Path(posts.name)
    read = {} if posts.read is None else {"read": posts.read}
    choice = DataChoice(path, **read, split=str(split), split_seed=int(split_seed), given=posts)
    read_posts, divided = read_and_split(choice)
    return Data(read_posts, divided, choice, chosen)


def _named(
    caches: "Caches | Sequence[str] | str | Path | None", options: dict[str, Any]
) -> dict[str, Any]:
    """Keywords of ``CacheChoice`` for what ``load`` was given."""
    if caches is None:
        return options
    if isinstance(caches, str | Path):
        return {"folder": as_path("caches", caches), **options}
    if isinstance(caches, Caches):
        return {"folder": caches.folder, **_one_a_half(caches.names, options), **options}
    from mvsa_pipe.backbones import parse_backbone

    names = [(parse_backbone(name)[0], name) for name in caches]
    return {**_one_a_half(names, options), **options}


def _one_a_half(names: Iterable[tuple[Modality, str]], options: dict[str, Any]) -> dict[str, str]:
    found: dict[Modality, list[str]] = {}
    for half, name in names:
        found.setdefault(half, []).append(name)
    for half, several in found.items():
        if len(several) > 1 and options.get(half.value) is None:
            raise ConfigError(
                f"Several {half} backbones were extracted",
                expected=f"{half}= with one of them, '+' between those that are read together, or "
                "',' between those that bench compares",
                found=", ".join(several),
                hint=f"load(..., {half}={several[0].partition('@')[0]!r})",
            )
    return {half.value: of_it[0] for half, of_it in found.items()}


def _halves(needs: Iterable[Field]) -> set[Modality]:
    return {need.modality for need in needs}


def _fields(names: Sequence[str]) -> frozenset[Field]:
    every = [member.value for member in Field]
    for name in names:
        if name not in every:
            raise ConfigError(
                "There is no such feature", expected=", ".join(every), found=repr(name)
            )
    return frozenset(map(Field, names)) or POOLED
