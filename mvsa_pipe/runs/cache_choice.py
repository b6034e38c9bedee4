"""Chooses the caches of an experiment: the newest that contain the posts of its split."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from mvsa_pipe.cache.folder import CacheFolder, StatesNotKeptError
from mvsa_pipe.cache.matching import CacheContent, best_of, first_complete, unreadable
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.errors import CacheError, ConfigError, name_some
from mvsa_pipe.features.batch import Field, reads_states
from mvsa_pipe.heads import HEADS
from mvsa_pipe.layers import Keep, LayerMix
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import PostSet, Split
from mvsa_pipe.posts.contents import ContentDigests, content_digests
from mvsa_pipe.runs.options import CacheChoice, DataChoice


@dataclass(frozen=True)
class ChosenCaches:
    """The caches that an experiment reads.

    Attributes:
        files: Those of each modality, in the order in which they are joined.
        skipped: Posts of the split that an extraction could not read.
    """

    files: dict[Modality, tuple[FeatureFile, ...]]
    skipped: set[str]


def chosen_files(
    caches: CacheChoice, data: DataChoice, posts: PostSet, split: Split, needs: Iterable[Field]
) -> ChosenCaches:
    """The newest caches that contain the split's posts, for each modality of declared features.

    Args:
        caches: The choice of backbones.
        data: Path of the posts, for messages.
        posts: The posts.
        split: Its posts are read.
        needs: The declared features.

    Raises:
        CacheError: There is no such cache, it is damaged, or every cache lacks posts or has
            features of other contents.
        StatesNotKeptError: Hidden states are declared, and were not kept.
        ConfigError: The same cache is named twice.
    """
    folder, declared = CacheFolder(caches.folder), set(needs)
    modalities = {need.modality for need in declared}
    found = ChosenCaches({}, set())
    for modality in Modality:
        if modality in modalities:
            wanted = content_digests(posts, modality, caches.folder).among(split.parts)
            states = reads_states(declared, modality)
            files = _chosen(folder, data, posts.name, modality, caches, wanted, states=states)
            found.files[modality] = files
            found.skipped.update(*(CacheContent.in_file(file).unserved(wanted) for file in files))
    return found


def _chosen(
    folder: CacheFolder,
    data: DataChoice,
    dataset: str,
    modality: Modality,
    caches: CacheChoice,
    wanted: ContentDigests,
    *,
    states: bool,
) -> tuple[FeatureFile, ...]:
    names = caches.names_of(modality)
    several = caches.features.layer_mix is not LayerMix.LAST
    files = []
    for name in names:
        fitting = folder.fitting(dataset, modality, name, several_layers=several, states=states)
        file = first_complete(fitting, wanted)
        if file is None:  # posts that another extraction could not read may be missing
            file = first_complete(fitting, wanted, unreadable(folder.readable(dataset)[0], wanted))
        if file is None:
            raise _none_serves(fitting, wanted, data)
        files.append(file)
    if len({file.path for file in files}) < len(files):
        raise ConfigError(
            f"--{modality} names the same cache twice",
            expected="different ones; NAME@DIGITS selects one of several caches",
            found=" + ".join(f"{n}: {f.path.name}" for n, f in zip(names, files, strict=True)),
            hint="mvsa cache list",
        )
    return tuple(files)


def _none_serves(
    fitting: Sequence[FeatureFile], wanted: ContentDigests, data: DataChoice
) -> CacheError:
    file, gap = best_of(fitting, wanted)
    fingerprint = file.header.fingerprint
    found = []
    if gap.lacking:
        found.append(f"it lacks {count_of(gap.lacking, 'post')}: {name_some(gap.lacking)}")
    if gap.stale:
        found.append(
            f"the {fingerprint.modality} of {count_of(gap.stale, 'post')} is not what was "
            f"extracted: {name_some(gap.stale)}"
        )
    others = len(fitting) - 1
    more = f"; {others:,} other caches of this name lack more" if others else ""
    return CacheError(
        f"The {fingerprint.modality} features of these posts are not cached, or not all of them",
        where=file.path,
        expected=f"all {len(wanted):,} posts of the split, as they are now",
        found=f"{'; '.join(found)}{more}",
        hint=f"{_extracting(data, fingerprint.backbone)} extracts what is missing",
    )


def _extracting(data: DataChoice, backbone: str) -> str:
    if data.recorded_path is None:
        return f"mvsa_pipe.extract(posts, [{backbone!r}])"
    return f"mvsa extract --data {data.path} --backbone {backbone}"


def count_of(some: Sequence[object], what: str) -> str:
    """``1 post``, ``4,000 posts``."""
    return f"{len(some):,} {what}{'' if len(some) == 1 else 's'}"


def _what_alone(file: FeatureFile) -> str:
    """What a cache without several layers keeps."""
    pooled = file.header.fingerprint.keep is Keep.POOLED
    return "pooled vectors" if pooled else "its last layer"


def refuse_single_layers(files: Mapping[Modality, Sequence[FeatureFile]], mix: LayerMix) -> None:
    """Raises if layers are to be mixed and every cache contains only its last layer.

    Raises:
        ConfigError: No cache has several layers.
    """
    every = [file for of_it in files.values() for file in of_it]
    if mix is LayerMix.LAST or any(file.header.layers > 1 for file in every):
        return
    raise ConfigError(
        f"--layer-mix {mix} needs a cache of several layers",
        expected="one that was extracted with --layers last4 or --layers all",
        found=name_some(f"{file.path.name} with {_what_alone(file)} alone" for file in every),
        hint="mvsa extract --layers last4 --backbone NAME",
    )


def readers_of_states(heads: Iterable[str], modality: Modality) -> tuple[str, ...]:
    """Those of some heads that read hidden states of one half of the post."""
    return tuple(name for name in heads if reads_states(HEADS.load(name).needs, modality))


@contextmanager
def naming_heads(heads: Sequence[str]) -> Iterator[None]:
    """Names the heads that read hidden states where these were not kept.

    Raises:
        StatesNotKeptError: They were not kept.
    """
    try:
        yield
    except StatesNotKeptError as error:
        raise error.read_by(readers_of_states(heads, error.modality)) from error
