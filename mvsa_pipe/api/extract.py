"""``extract``: features of posts by frozen backbones, into caches or as tensors."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from mvsa_pipe.api.keywords import build, names_of, refuse_unknown
from mvsa_pipe.api.screen import shown_progress
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.extraction.backbone_choice import ExtractChoice
from mvsa_pipe.extraction.extract import extract_all
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.extraction.result import Extraction
from mvsa_pipe.features.batch import FeatureBatch
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts.post import PostSet
from mvsa_pipe.tabular import Row, Tabular

Weights = Mapping[str, str | Path]


@dataclass(frozen=True, repr=False)
class Caches(Tabular):
    """The caches that an extraction wrote or found up to date; ``load`` takes them.

    Attributes:
        folder: The folder of all caches.
        extractions: One a backbone, in the order named.
    """

    folder: Path
    extractions: tuple[Extraction, ...]

    @property
    def names(self) -> list[tuple[Modality, str]]:
        """The modality and the exact name of each cache, fingerprint included."""
        prints = [one.file.header.fingerprint for one in self.extractions]
        return [(found.modality, f"{found.backbone}@{found.digest}") for found in prints]

    @property
    def skipped(self) -> dict[str, str]:
        """Posts that could not be read, and why."""
        return {i: reason for one in self.extractions for i, reason in one.skipped.items()}

    def __len__(self) -> int:
        return len(self.extractions)

    def __iter__(self) -> Iterator[Extraction]:
        return iter(self.extractions)

    def table_rows(self) -> list[Row]:
        """One row a cache."""
        return [
            {
                "backbone": one.file.header.fingerprint.backbone,
                "modality": one.file.header.fingerprint.modality.value,
                "extracted": one.extracted,
                "reused": one.reused,
                "skipped": len(one.skipped),
                "bytes": one.file.header.payload_bytes,
                "seconds": one.seconds,
                "cache": str(one.file.path),
            }
            for one in self.extractions
        ]

    def table_title(self) -> str:
        """Where the caches are."""
        return f"{len(self.extractions)} caches in {self.folder}"


@overload
def extract(
    posts: PostSet,
    backbones: str | Sequence[str],
    *,
    weights: Weights | None = None,
    cache: str | Path = ExtractOptions.cache,
    device: str = ExtractOptions.device,
    **options: Any,  # noqa: ANN401
) -> Caches: ...


@overload
def extract(
    *,
    texts: Sequence[str] | None = None,
    images: Sequence[object] | None = None,
    backbones: str | Sequence[str],
    weights: Weights | None = None,
    device: str = ExtractOptions.device,
    **options: Any,  # noqa: ANN401
) -> FeatureBatch: ...


def extract(
    posts: PostSet | None = None,
    backbones: str | Sequence[str] = (),
    *,
    texts: Sequence[str] | None = None,
    images: Sequence[object] | None = None,
    weights: Weights | None = None,
    cache: str | Path = ExtractOptions.cache,
    device: str = ExtractOptions.device,
    **options: Any,
) -> Caches | FeatureBatch:
    """Runs frozen backbones over posts once.

    With ``posts``, features go to caches: only posts that are new or changed are computed, and the
    same call resumes an interrupted extraction. With ``texts`` and ``images``, features are
    returned as tensors, and no file is written.

    Args:
        posts: The posts of a data set.
        backbones: Names of backbones, such as ``bert`` and ``dinov2``.
        texts: Texts of posts in memory.
        images: Their pictures: paths, ``PIL.Image`` objects, arrays ``[H, W, 3]`` or the bytes of a
            file.
        weights: Local weights by backbone; published weights are fetched otherwise.
        cache: The folder of all caches.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        options: Options of ``ExtractChoice`` and ``ExtractOptions``, such as ``pooling``,
            ``max_tokens``, ``prompt``, ``layers``, ``dtype``, ``batch_size``, ``on_bad_post``.

    Raises:
        ConfigError: An option cannot be used, or there is nothing to extract.
        UnreadablePostsError: A text or picture cannot be read.
        BackboneError: Weights cannot be had.
        CacheError: Another process writes a cache, or it is damaged.
        StorageError: The disk refuses; what was committed stays.
    """
    choosing, computing = names_of(ExtractChoice), names_of(ExtractOptions)
    known = [name for name in (*choosing, *computing) if name not in _NOT_KEYWORDS]
    refuse_unknown(options, known, where="extract")
    named = [backbones] if isinstance(backbones, str) else list(backbones)
    given = {name: value for name, value in options.items() if name in choosing}
    pairs = [f"{name}={path}" for name, path in (weights or {}).items()]
    choice = build(ExtractChoice, {**given, "backbones": named, "weights": pairs})
    if not named or (posts is None) == (texts is None and images is None):
        raise ConfigError(
            "Nothing to extract, or too much",
            where="extract",
            expected="extract(posts, backbones) with what read_posts returned, or "
            "extract(texts=..., images=..., backbones=...)",
            found="no backbone" if not named else "both" if posts is not None else "neither",
        )
    own = {name: value for name, value in options.items() if name in computing}
    settings = build(ExtractOptions, {**own, "cache": cache, "device": device})
    wanted = choice.options_for(choice.backbones)
    if posts is not None:
        with shown_progress() as screen:
            done = extract_all(posts, wanted, settings, screen)
        return Caches(settings.cache, tuple(done))
    return _in_memory(texts, images, wanted, settings)


# What has a parameter of its own, and what a function named after one step does not do.
_NOT_KEYWORDS = ("backbones", "weights", "partner", "cache", "device")


def _in_memory(
    texts: Sequence[str] | None,
    images: Sequence[object] | None,
    backbones: Sequence[BackboneOptions],
    options: ExtractOptions,
) -> FeatureBatch:
    from mvsa_pipe.extraction.in_memory import encode_posts
    from mvsa_pipe.posts.in_memory import posts_in_memory

    posts = posts_in_memory(texts, images)
    with shown_progress() as screen:
        return encode_posts(posts, backbones, options, screen)
