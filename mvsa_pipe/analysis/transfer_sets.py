"""Data sets that runs are trained on and scored on: their posts, classes and shared posts."""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mvsa_pipe.analysis.contest import Contest, contest_of_runs
from mvsa_pipe.analysis.leaks import EXACT, NEAR_PICTURE, SAME_TEXT
from mvsa_pipe.errors import ConfigError, name_some
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import PostSet, read_posts
from mvsa_pipe.posts.contents import content_digests
from mvsa_pipe.posts.duplicates import text_keys, without_stand_ins
from mvsa_pipe.posts.picture_hashes import near, picture_hashes
from mvsa_pipe.posts.splits.split import TRAIN, VAL
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.own_posts import own_posts, reading_only

_PICTURE = EXACT[Modality.IMAGE]


@dataclass(frozen=True)
class DataSet:
    """A data set that heads are scored on.

    Attributes:
        title: Its name.
        posts: Its posts.
        scored: Those that are scored, by id.
        contest: The runs that were trained on it; ``None`` if there are none.
        seen: Posts that these runs were trained or selected on, by id.
    """

    title: str
    posts: PostSet
    scored: tuple[str, ...]
    contest: Contest | None = None
    seen: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Overlap:
    """Posts of one data set that duplicate training posts of another.

    Attributes:
        ways: Posts by the way in which they are alike; a post may count in several.
        same_ids: Scored posts with the id of a training post, whatever they contain.
        left_out: Posts alike in some way.
    """

    ways: dict[str, int]
    same_ids: int
    left_out: frozenset[str]


def data_sets(
    runs: Sequence[Run], paths: Iterable[str], only: Collection[Modality]
) -> list[DataSet]:
    """The data sets of some runs, then those at some paths.

    Args:
        runs: The runs, of one or several data sets.
        paths: Other data sets; all their labelled posts are scored.
        only: What any of the runs reads.

    Raises:
        RunError: Runs of one data set are not over the same posts.
        DataError: Posts cannot be read, were built in memory, or have changed since a run.
        ConfigError: There is one data set alone.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        data = run.config["data"]
        groups.setdefault((str(data["name"]), str(data.get("digest"))), []).append(run)
    found = [_of_runs(own, only) for own in groups.values()]
    for path in paths:
        read = replace(reading_only(runs[0].read_options, only), name=None)
        posts = read_posts(Path(path), read)
        labelled = tuple(post.id for post in posts.posts if post.label is not None)
        found.append(DataSet(posts.name, posts, labelled))
    if len(found) < 2:
        raise ConfigError(
            "There is no other data set to score these runs on",
            found=f"runs of {found[0].title} alone",
            expected="another data set, or runs of several",
            hint="name it: --data PATH; mvsa compare compares runs of one data set",
        )
    titles = [each.title for each in found]
    return [
        replace(each, title=f"{each.title}@{each.posts.digest}")
        if titles.count(each.title) > 1
        else each
        for each in found
    ]


def _of_runs(runs: Sequence[Run], only: Collection[Modality]) -> DataSet:
    contest = contest_of_runs(runs, at_least=1)
    posts = own_posts(runs[0], only)
    seen = frozenset(m.post_id for run in runs for m in run.members() if m.split in (TRAIN, VAL))
    return DataSet(str(runs[0].config["data"]["name"]), posts, contest.folds[0].ids, contest, seen)


def overlap(trained: DataSet, target: DataSet, cache: Path | None, progress: Progress) -> Overlap:
    """The scored posts of a data set that duplicate training posts of another.

    Two posts are alike if their texts are the same but for case, links and names, or their
    pictures are the same or near by a perceptual hash. Ids alone do not make posts alike: many
    data sets number theirs from 1.

    Args:
        trained: The data set of training.
        target: The data set that is scored.
        cache: The folder of all caches, which remembers digests of unchanged pictures.
        progress: Receives the number of hashed pictures.
    """
    ways: dict[str, Collection[str]] = {}
    asked = set(target.scored)
    texts = [_by_id(each, text_keys(each.posts)) for each in (trained, target)]
    ways[SAME_TEXT] = _alike(texts, trained.seen, asked)
    ways[_PICTURE] = _alike(_pictures(trained, target, cache), trained.seen, asked)
    hashes = [
        picture_hashes(each.posts, sorted(ids), progress, cache)
        for each, ids in ((trained, trained.seen), (target, target.scored))
    ]
    ids = list(hashes[1])
    hits = near([hashes[1][i] for i in ids], list(hashes[0].values()))
    ways[NEAR_PICTURE] = {i for i, hit in zip(ids, hits, strict=True) if hit}
    return Overlap(
        ways={way: len(found) for way, found in ways.items() if found},
        same_ids=len(trained.seen & asked),
        left_out=frozenset(i for found in ways.values() for i in found),
    )


def _by_id(data: DataSet, keys: Sequence[Hashable]) -> dict[str, Hashable]:
    pairs = zip((post.id for post in data.posts.posts), keys, strict=True)
    return {post_id: key for post_id, key in pairs if key is not None}


def _pictures(trained: DataSet, target: DataSet, cache: Path | None) -> list[dict[str, Hashable]]:
    """Digests of pictures by id, without pictures that stand for missing ones."""
    found = []
    for each in (trained, target):
        digests = content_digests(each.posts, Modality.IMAGE, cache).digests
        keys = [digests[p.id].encode() if p.id in digests else None for p in each.posts.posts]
        found.append(_by_id(each, without_stand_ins(text_keys(each.posts), keys)))
    return found


def _alike(
    keys: Sequence[Mapping[str, Hashable]], seen: Collection[str], asked: Collection[str]
) -> set[str]:
    known = {keys[0][i] for i in seen if i in keys[0]}
    return {i for i in asked if i in keys[1] and keys[1][i] in known}


def class_names(
    pairs: Iterable[str], sets: Sequence[DataSet], runs: Sequence[Run]
) -> Callable[[str], str]:
    """How classes of all data sets are called in common.

    Args:
        pairs: Classes that have another name, such as ``happy=positive``.
        sets: The data sets.
        runs: The runs.

    Raises:
        ConfigError: A pair is none or names no class, or a data set has a class that some run
            does not know.
    """
    renamed = {}
    there = {name for each in sets for name in each.posts.classes}
    there |= {str(name) for run in runs for name in run.config["data"]["classes"]}
    for pair in pairs:
        one, equals, other = (part.strip() for part in pair.partition("="))
        if not equals or one not in there or other not in there:
            raise ConfigError(
                "--map cannot be used",
                expected="a class and what it is called elsewhere, such as happy=positive; "
                f"classes are {', '.join(sorted(there))}",
                found=pair,
            )
        renamed[one] = other

    def common(name: str) -> str:
        return renamed.get(name, name)

    for run in runs:
        own = {common(str(name)) for name in run.config["data"]["classes"]}
        for each in sets:
            labels = {post.id: post.label for post in each.posts.posts}
            strange = {str(labels[i]) for i in each.scored if common(str(labels[i])) not in own}
            if strange:
                raise ConfigError(
                    f"{each.title} has classes that a run does not know",
                    where=run.path,
                    expected=f"classes of the run: {', '.join(sorted(own))}",
                    found=name_some(sorted(strange)),
                    hint=f"--map {min(strange)}={min(own)}, if they mean the same; or leave those "
                    "posts out",
                )
    return common
