"""The pairs of backbones that a bench compares, on the same posts."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product

from mvsa_pipe.backbones.presets import preset_named
from mvsa_pipe.cache.folder import CacheFolder, StatesNotKeptError
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.errors import CacheError, ConfigError
from mvsa_pipe.features.batch import HIDDEN, Field
from mvsa_pipe.modality import Modality
from mvsa_pipe.runs.cache_choice import chosen_files, readers_of_states
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.runs.prepare import needs_of, read_and_split


def with_preset(caches: CacheChoice, name: str) -> CacheChoice:
    """The same caches, with a preset's backbones for a modality that names none."""
    if not name:
        return caches
    preset = preset_named(name)
    return replace(
        caches,
        text=caches.text or ",".join(preset.text),
        image=caches.image or ",".join(preset.image),
    )


def require_preset(data: DataChoice, caches: CacheChoice, name: str, heads: Iterable[str]) -> None:
    """Refuses a bench of a preset before its posts are split, if features of it are missing.

    Args:
        data: The posts.
        caches: What ``with_preset`` returned.
        name: The preset; empty for none.
        heads: The heads of the bench.

    Raises:
        CacheError: Some are missing; the hint is the one command that extracts all of them.
    """
    if not name:
        return
    wanted, folder = preset_named(name).backbones, CacheFolder(caches.folder)
    posts, missing = data.posts().name, []
    for modality in {need.modality for need in needs_of(heads)}:
        for backbone in caches.alternatives(modality):
            if backbone in wanted:
                try:
                    folder.fitting(posts, modality, backbone)
                except CacheError:  # a damaged one is explained when it is extracted
                    missing.append(backbone)
    if missing:
        words = ["mvsa", "extract", "--data", str(data.path), "--preset", name]
        words += ["--cache", str(caches.folder)]
        raise CacheError(
            f"Features of preset {name} are not cached",
            where=caches.folder,
            expected=f"features of {', '.join(sorted(missing, key=wanted.index))}",
            hint=f"{shlex.join(words)}, with --weights NAME=PATH for each whose weights are on "
            "this machine but not in the hub's cache",
        )


def chosen_pairs(caches: CacheChoice, heads: Iterable[str]) -> tuple[CacheChoice, ...]:
    """Every named text backbone with every named image backbone, in the order typed.

    Raises:
        ConfigError: Several backbones are named for a modality that no head reads.
    """
    read = {need.modality for need in needs_of(heads)}
    for modality in Modality:
        names = caches.alternatives(modality)
        if len(names) > 1 and modality not in read:
            raise ConfigError(
                f"--{modality} names several backbones, but no head of this bench reads {modality}",
                expected=f"a head that reads the {modality}",
                found=f"--{modality} {','.join(map(str, names))}",
            )
    texts, images = map(caches.alternatives, (Modality.TEXT, Modality.IMAGE))
    return tuple(replace(caches, text=text, image=image) for text, image in product(texts, images))


def served_heads(
    data: DataChoice, pairs: Sequence[CacheChoice], heads: Sequence[str]
) -> tuple[tuple[str, ...], list[StatesNotKeptError]]:
    """The heads for which every pair keeps what they read, and what keeps others from being so.

    Raises:
        StatesNotKeptError: There is no such head.
        MvsaError: As ``skipped_by_any``.
    """
    posts, split = read_and_split(data)
    left, lacking = tuple(heads), []
    for pair in pairs:
        for modality in Modality:
            try:
                chosen_files(pair, data, posts, split, _states_of(left, modality))
            except StatesNotKeptError as error:
                readers = readers_of_states(left, modality)
                lacking.append(error.read_by(readers))
                left = tuple(head for head in left if head not in readers)
    if not left:
        raise lacking[-1]
    return left, lacking


def _states_of(heads: Iterable[str], modality: Modality) -> set[Field]:
    return {need for need in needs_of(heads) & HIDDEN if need.modality is modality}


def skipped_by_any(
    data: DataChoice, pairs: Sequence[CacheChoice], heads: Iterable[str]
) -> frozenset[str]:
    """Posts that the extraction of any pair skipped; they are left out for all pairs.

    All pairs are then trained and tested on the same posts, so that paired tests apply.

    Raises:
        DataError: The posts cannot be read.
        SplitError: The split does not fit them.
        CacheError: A cache is missing or damaged, or lacks posts.
        ConfigError: Two pairs are the same.
    """
    if len(pairs) == 1:
        return frozenset()
    posts, split = read_and_split(data)
    needs = needs_of(heads)
    chosen = [chosen_files(pair, data, posts, split, needs) for pair in pairs]
    _refuse_copies([pair.files for pair in chosen])
    return frozenset().union(*(pair.skipped for pair in chosen))


def _refuse_copies(chosen: Sequence[Mapping[Modality, Sequence[FeatureFile]]]) -> None:
    paths = [tuple(f.path for of_it in files.values() for f in of_it) for files in chosen]
    twice = sorted({path for path in paths if paths.count(path) > 1})
    if twice:
        raise ConfigError(
            "Two pairs of backbones read the same caches under different names",
            expected="different caches; NAME@DIGITS selects one of several caches",
            found=" with ".join(path.name for path in twice[0]),
            hint="mvsa cache list",
        )


def pair_label(pair: CacheChoice, caches: CacheChoice, head: str | None = None) -> str:
    """Label of a pair in tables, as typed; empty if it is the only pair.

    Args:
        pair: The pair.
        caches: All pairs.
        head: If given, only what it reads is named: a head of one modality is the same for every
            pair with that backbone.
    """
    read = set(Modality) if head is None else {need.modality for need in needs_of([head])}
    typed = [
        pair.alternatives(modality)[0]
        for modality in Modality
        if modality in read and len(caches.alternatives(modality)) > 1
    ]
    return " + ".join(map(str, typed))
