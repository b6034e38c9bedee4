"""Chooses the cache for a set of posts by their content, as data sets may share a name."""

from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from mvsa_pipe.cache.byte_reads import damaged
from mvsa_pipe.cache.content import SOURCE, Refusal, parts_folder
from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.cache.folder import SHARDS, CacheFolder
from mvsa_pipe.cache.manifest import Manifest
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.errors import CacheError, MvsaError
from mvsa_pipe.locks import exclusive
from mvsa_pipe.posts.contents import ContentDigests
from mvsa_pipe.posts.post import set_digest


@dataclass(frozen=True)
class Gap:
    """Posts whose current features are not in a cache.

    Attributes:
        stale: Posts whose content has changed.
        lacking: Posts that are not in the cache.
    """

    stale: Sequence[str]
    lacking: Sequence[str]

    def __len__(self) -> int:
        """Number of posts."""
        return len(self.stale) + len(self.lacking)


@dataclass(frozen=True)
class CacheContent:
    """Content of one cache.

    Attributes:
        path: Its file, which does not exist before its extraction has ended.
        digests: Content digest of every post by id.
        refused: Posts that its extraction could not read, by id.
        source: The path of its posts; ``None`` if it is not recorded.
    """

    path: Path
    digests: Mapping[str, str]
    refused: Mapping[str, Refusal]
    source: str | None = None

    @classmethod
    def in_file(cls, file: FeatureFile) -> "CacheContent":
        """Content of a finished cache."""
        header = file.header
        source = header.notes.get(SOURCE)
        known = source if isinstance(source, str) else None
        return cls(file.path, header.content_digests, header.refused, known)

    @classmethod
    def at(cls, path: Path) -> "CacheContent":
        """Content of a cache, including parts that are not joined yet.

        Raises:
            CacheError: It is damaged, or another process changes it.
        """
        try:
            return cls._read(path)
        except MvsaError:
            with exclusive(path):  # another process may have been deleting its parts
                return cls._read(path)

    @classmethod
    def _read(cls, path: Path) -> "CacheContent":
        known = cls(path, {}, {})
        joined: set[str] = set()
        if path.exists():
            file = FeatureFile(path)
            known, joined = cls.in_file(file), {s.name for s in file.header.segments}
        digests, refused = dict(known.digests), dict(known.refused)
        manifest = Manifest(parts_folder(path))
        # The writer replaces a lost list, and checks which parts are whole.
        names = [part.name for part in manifest.parts] or _parts_without_list(manifest.folder)
        for name in names:
            if name not in joined:
                part = manifest.folder / name
                if not part.is_file():
                    raise damaged(part, "a committed part is missing")
                header = FeatureFile(part).header
                digests |= header.content_digests
                refused |= header.refused
        return cls(path, digests, refused, known.source)

    def gap(self, wanted: ContentDigests) -> Gap:
        """The posts that must be extracted, without those that could not be read before."""
        stale, lacking = [], []
        for post_id, digest in wanted.digests.items():
            known = self.digests.get(post_id)
            if known is None:
                refusal = self.refused.get(post_id)
                if refusal is None or refusal.digest != digest:
                    lacking.append(post_id)
            elif known != digest:
                stale.append(post_id)
        for post_id in wanted.faults:
            if post_id in self.digests:
                stale.append(post_id)
            elif post_id not in self.refused:
                lacking.append(post_id)
        return Gap(stale, lacking)

    def unserved(self, wanted: ContentDigests) -> set[str]:
        """Ids of posts without current features."""
        known = self.digests
        return {i for i, digest in wanted.digests.items() if known.get(i) != digest} | {
            *wanted.faults
        }

    def covers(self, digests: Mapping[str, str]) -> bool:
        """Whether no post has to be extracted."""
        return not self.gap(ContentDigests(digests))

    def shared(self, digests: Mapping[str, str]) -> int:
        """Number of posts with current features."""
        return sum(self.digests.get(i) == digest for i, digest in digests.items())

    def may_grow(self, digests: Mapping[str, str], source: str) -> bool:
        """Whether posts may be added to it without replacing features of another data set.

        They share a post with it and none differs; or its posts were edited at the same path.
        """
        shared = self.shared(digests)
        differing = sum(i in self.digests for i in digests) - shared
        edited = self.source in (None, source) and shared > differing
        return shared > 0 and (not differing or edited)


def mark_for(
    folder: CacheFolder,
    dataset: str,
    fingerprint: Fingerprint,
    digests: Mapping[str, str],
    source: str,
) -> str:
    """The mark of the cache that posts are extracted into.

    The newest cache that has all of them; else the one that may grow and shares most posts; else a
    new one, whose mark is a digest of their ids and contents.

    Args:
        folder: The folder of all caches.
        dataset: The data set's name.
        fingerprint: The fingerprint of the features.
        digests: Content digest of every readable post by id.
        source: The path of the posts.

    Raises:
        CacheError: A cache that might be the right one is damaged.
    """
    every = [CacheContent.at(path) for path in folder.of_fingerprint(dataset, fingerprint)]
    whole = [held for held in every if held.covers(digests)]
    growing = [held for held in every if held.may_grow(digests, source)]
    if digests and (whole or growing):
        chosen = whole[0] if whole else max(growing, key=lambda held: held.shared(digests))
        return mark_of(chosen.path, fingerprint)
    taken = {held.path for held in every if held.digests or held.path.exists()}
    numbered = (set_digest([*digests.items(), *[("", str(n))] * (n > 0)]) for n in count())
    return next(
        mark for mark in numbered if folder.path_of(dataset, fingerprint, mark=mark) not in taken
    )


def _parts_without_list(folder: Path) -> list[str]:
    """Readable parts of a folder whose list of parts was lost."""
    found = []
    for path in sorted(folder.glob("part-*.h5")):
        with suppress(CacheError):
            FeatureFile(path)
            found.append(path.name)
    return found


def mark_of(path: Path, fingerprint: Fingerprint) -> str:
    """The mark in the name of a cache, or of one of its shards; empty if there is none."""
    name = path.stem.rpartition(".")[0] if path.parent.name == SHARDS else path.stem
    stem = fingerprint.file_name.removesuffix(".h5")
    return name.removeprefix(f"{stem}-") if fingerprint.names(name) and name != stem else ""


def unreadable(files: Iterable[FeatureFile], wanted: ContentDigests) -> set[str]:
    """Posts that an extraction could not read, and that have not changed since."""
    return {
        row.id
        for file in files
        for row in file.header.quarantine
        if row.id in wanted.faults or wanted.digests.get(row.id) == row.digest
    }


def first_complete(
    files: Iterable[FeatureFile], wanted: ContentDigests, skipped: Container[str] = ()
) -> FeatureFile | None:
    """The first cache with current features of all posts except the skipped ones."""
    for file in files:
        gap = CacheContent.in_file(file).gap(wanted)
        if all(post_id in skipped for post_id in (*gap.stale, *gap.lacking)):
            return file
    return None


def best_of(files: Iterable[FeatureFile], wanted: ContentDigests) -> tuple[FeatureFile, Gap]:
    """The cache that lacks the fewest posts, and these posts.

    Raises:
        CacheError: There is no cache.
    """
    gaps = [(file, CacheContent.in_file(file).gap(wanted)) for file in files]
    if not gaps:
        raise CacheError("There is no cache to choose from", hint="mvsa cache list")
    return min(gaps, key=lambda pair: len(pair[1]))
