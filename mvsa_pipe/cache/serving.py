"""Which of several caches serves some posts: data sets that share a name may share nothing else."""

from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.cache.folder import SHARDS, CacheFolder
from mvsa_pipe.cache.gathering import damaged
from mvsa_pipe.cache.layout import Refusal, parts_folder
from mvsa_pipe.cache.lock import exclusive
from mvsa_pipe.cache.manifest import Manifest
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.errors import CacheError, MvsaError
from mvsa_pipe.posts.contents import ContentDigests
from mvsa_pipe.posts.post import set_digest

# The entry of a header's notes that says where the posts were read.
SOURCE = "source"


@dataclass(frozen=True)
class Gap:
    """What a cache lacks of some posts.

    Attributes:
        stale: Posts whose content is another than the one that was extracted.
        lacking: Posts that it does not hold.
    """

    stale: Sequence[str]
    lacking: Sequence[str]

    def __len__(self) -> int:
        """Posts that it cannot serve."""
        return len(self.stale) + len(self.lacking)


@dataclass(frozen=True)
class Held:
    """What one cache holds.

    Attributes:
        path: Its file, which is not there while its extraction has not ended.
        digests: Content digest of every post by id.
        refused: Posts that its extraction could not read, by id.
        source: Where its posts were read; ``None`` where it does not say.
    """

    path: Path
    digests: Mapping[str, str]
    refused: Mapping[str, Refusal]
    source: str | None = None

    @classmethod
    def in_file(cls, file: FeatureFile) -> "Held":
        """What a finished cache holds."""
        header = file.header
        source = header.notes.get(SOURCE)
        known = source if isinstance(source, str) else None
        return cls(file.path, header.content_digests, header.refused, known)

    @classmethod
    def at(cls, path: Path) -> "Held":
        """What a cache holds, parts included that wait to be joined.

        Raises:
            CacheError: It is damaged, or another process is changing it.
        """
        try:
            return cls._read(path)
        except MvsaError:
            with exclusive(path):  # another process may have been deleting its parts
                return cls._read(path)

    @classmethod
    def _read(cls, path: Path) -> "Held":
        known = cls(path, {}, {})
        joined: set[str] = set()
        if path.exists():
            file = FeatureFile(path)
            known, joined = cls.in_file(file), {s.name for s in file.header.segments}
        digests, refused = dict(known.digests), dict(known.refused)
        manifest = Manifest(parts_folder(path))
        # A list that was lost is made anew by the writer, which also tells which parts are whole.
        names = [part.name for part in manifest.parts] or _parts_without_list(manifest.folder)
        for name in names:
            if name not in joined:
                part = manifest.folder / name
                if not part.is_file():
                    raise damaged(part, "a committed part is gone")
                header = FeatureFile(part).header
                digests |= header.content_digests
                refused |= header.refused
        return cls(path, digests, refused, known.source)

    def gap(self, wanted: ContentDigests) -> Gap:
        """What it lacks of some posts; a post that it could not read is none that it lacks."""
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
        """Posts of which it has no features as they are now."""
        known = self.digests
        return {i for i, digest in wanted.digests.items() if known.get(i) != digest} | {
            *wanted.faults
        }

    def covers(self, digests: Mapping[str, str]) -> bool:
        """Whether nothing of some posts has to be extracted."""
        return not self.gap(ContentDigests(digests))

    def shared(self, digests: Mapping[str, str]) -> int:
        """How many of some posts it holds as they are."""
        return sum(self.digests.get(i) == digest for i, digest in digests.items())

    def may_grow(self, digests: Mapping[str, str], source: str) -> bool:
        """Whether some posts may join it without taking features from another data set.

        They share a post with it and disagree about none; or its posts were edited where they lie.
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
    """The mark of the cache that some posts are extracted into.

    The newest that has them all, else the one that shares most with them and may grow, else a new
    one, whose mark is a digest of their ids and contents.

    Args:
        folder: The folder of all caches.
        dataset: The data set's name.
        fingerprint: What decides the values.
        digests: Content digest of every readable post by id.
        source: Where the posts are read.

    Raises:
        CacheError: A cache that might be the right one is damaged.
    """
    every = [Held.at(path) for path in folder.of_fingerprint(dataset, fingerprint)]
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
    """Parts that can be opened, of a folder whose list of parts was lost."""
    found = []
    for path in sorted(folder.glob("part-*.h5")):
        with suppress(CacheError):
            FeatureFile(path)
            found.append(path.name)
    return found


def mark_of(path: Path, fingerprint: Fingerprint) -> str:
    """The mark in the name of a cache, or of one of its shards; empty where there is none."""
    name = path.stem.rpartition(".")[0] if path.parent.name == SHARDS else path.stem
    stem = fingerprint.file_name.removesuffix(".h5")
    return name.removeprefix(f"{stem}-") if fingerprint.names(name) and name != stem else ""


def unreadable(files: Iterable[FeatureFile], wanted: ContentDigests) -> set[str]:
    """Posts that the extraction of some cache could not read, and that have not changed since."""
    return {
        row.id
        for file in files
        for row in file.header.quarantine
        if row.id in wanted.faults or wanted.digests.get(row.id) == row.digest
    }


def serving(
    files: Iterable[FeatureFile], wanted: ContentDigests, skipped: Container[str] = ()
) -> FeatureFile | None:
    """The first of some caches that has posts as they are now, but for those that are skipped."""
    for file in files:
        gap = Held.in_file(file).gap(wanted)
        if all(post_id in skipped for post_id in (*gap.stale, *gap.lacking)):
            return file
    return None


def best_of(files: Iterable[FeatureFile], wanted: ContentDigests) -> tuple[FeatureFile, Gap]:
    """The cache that lacks fewest of some posts, and what it lacks.

    Raises:
        CacheError: There is no cache.
    """
    gaps = [(file, Held.in_file(file).gap(wanted)) for file in files]
    if not gaps:
        raise CacheError("There is no cache to choose from", hint="mvsa cache list")
    return min(gaps, key=lambda pair: len(pair[1]))
