"""Chooses the posts that a run is scored on: its own, or others that it was not trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mvsa_pipe.errors import RunError, SplitError, name_some
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import PostSet
from mvsa_pipe.posts.contents import content_digests
from mvsa_pipe.posts.splits.split import PARTS, TEST, TRAIN, VAL
from mvsa_pipe.runs import Member, Run
from mvsa_pipe.runs.layout import CONTENT_DIGITS
from mvsa_pipe.runs.options import InferenceOptions

ALL, UNSEEN = "all", "unseen"

# Content digest of each modality that a run reads, by post id.
DigestsByPost = Mapping[str, Mapping[Modality, str]]


@dataclass(frozen=True)
class ScoredPosts:
    """The posts to score.

    Attributes:
        ids: The posts, in order.
        part: The part's name; ``unseen`` for other posts without ``known`` ones.
        protocol: The protocol tag.
        known: Posts that the run was trained or selected on.
    """

    ids: list[str]
    part: str
    protocol: str
    known: tuple[str, ...] = ()


def scored_posts(run: Run, posts: PostSet, options: InferenceOptions) -> ScoredPosts:
    """The run's own part if the posts are the run's own, else all posts that are new to it.

    Posts are the run's own if ids, labels and contents equal its records. Runs of 0.1 recorded no
    contents; for them the data set's name must be equal instead.

    Raises:
        SplitError: The part has no posts; or the posts differ from the run's records although a
            part was requested or no other posts were named.
        RunError: Labels are not among the run's classes, or a record is missing or damaged.
    """
    left_out = set(run.metrics.get("left_out", ()))
    members = [member for member in run.members() if member.post_id not in left_out]
    part = options.part
    if part not in (None, ALL, *PARTS):
        raise SplitError(
            f"--split {part} is not a part", expected=f"{', '.join(PARTS)} or all", where=run.path
        )
    contents = _contents(run, members, posts, options.cache)
    if part != ALL:
        own = part or (TEST if any(member.split == TEST for member in members) else VAL)
        chosen = _members_in(run, members, own)
        changes = _changes(run, chosen, posts, contents)
        if not changes:
            return ScoredPosts([m.post_id for m in chosen], own, run.config["protocol"])
        if not options.names_posts or part is not None:
            raise _not_own(own, chosen, changes, posts, options)
    return _others(run, members, posts, contents, everything=part == ALL)


def changed_members(
    run: Run, members: Sequence[Member], posts: PostSet, cache: Path
) -> dict[str, list[str]]:
    """Members of a run that have changed since the run was made, by kind of change.

    Args:
        run: The run.
        members: Its posts.
        posts: The posts as they are now.
        cache: The folder of all caches, which remembers digests of files that did not change.
    """
    return _changes(run, members, posts, _contents(run, members, posts, cache))


def describe_changes(changes: Mapping[str, Sequence[str]], posts: int) -> str:
    """Members that have changed, in words; ``posts`` is how many there are."""
    return "; ".join(
        f"{len(ids):,} of its {posts:,} posts {fault}: {name_some(ids)}"
        for fault, ids in changes.items()
    )


def _contents(run: Run, members: Sequence[Member], posts: PostSet, cache: Path) -> DigestsByPost:
    """Current content digests of every post, for the modalities that the run reads.

    Empty for runs of 0.1, which recorded none.
    """
    if not any(member.contents for member in members):
        return {}
    found: dict[str, dict[Modality, str]] = {post.id: {} for post in posts.posts}
    for name in run.config["caches"]:
        modality = Modality(name)
        for post_id, digest in content_digests(posts, modality, cache).digests.items():
            found[post_id][modality] = digest[:CONTENT_DIGITS]
    return found


def _members_in(run: Run, members: Sequence[Member], part: str) -> list[Member]:
    chosen = [member for member in members if member.split == part]
    if not chosen:
        raise SplitError(
            f"The run's split has no posts in its part {part!r}",
            where=run.path,
            found=f"parts {', '.join(sorted({member.split for member in members}))}",
        )
    return chosen


def _changes(
    run: Run, chosen: Sequence[Member], posts: PostSet, contents: DigestsByPost
) -> dict[str, list[str]]:
    """Members that have changed since the run was made, by kind of change."""
    labels = {post.id: post.label for post in posts.posts}
    changes: dict[str, list[str]] = {}
    for member in chosen:
        now = contents.get(member.post_id, {})
        differing = [m for m, was in member.contents.items() if now.get(m, was) != was]
        fault = ""
        if labels.get(member.post_id) is None:
            fault = "are missing"
        elif labels[member.post_id] != member.label:
            fault = "have another label now"
        elif differing:
            fault = f"have another {' and '.join(differing)} now"
        if fault:
            changes.setdefault(fault, []).append(member.post_id)
    if not contents and posts.name != run.config["data"]["name"]:
        changes["are of a data set with another name"] = [m.post_id for m in chosen]
    return changes


def _not_own(
    part: str,
    chosen: Sequence[Member],
    changes: Mapping[str, Sequence[str]],
    posts: PostSet,
    options: InferenceOptions,
) -> SplitError:
    hint = "name the posts that the run was made from with --data"
    if options.names_posts:
        hint = "leave --split out to score posts that are new to the run"
    return SplitError(
        f"These posts are not those of the run's part {part!r}",
        where=posts.storage.root,
        expected="posts with the ids, labels and contents that the run recorded",
        found=describe_changes(changes, len(chosen)),
        hint=f"{hint}, or score all of these with --split all",
    )


def _others(
    run: Run,
    members: Sequence[Member],
    posts: PostSet,
    contents: DigestsByPost,
    *,
    everything: bool,
) -> ScoredPosts:
    """All labelled posts, by default without those that the run was trained or selected on."""
    labels = {post.id: post.label for post in posts.posts if post.label is not None}
    known = _known(run, members, labels, posts.name, contents)
    ids = [i for i in labels if everything or i not in known]
    if not ids:
        raise SplitError(
            "The run was trained or selected on every one of these posts",
            where=posts.storage.root,
            found=f"{len(known):,} posts",
            hint="use --split all to score them anyway",
        )
    _require_known_classes(run, posts, {i: labels[i] for i in ids})
    part = ALL if everything or not known else UNSEEN
    return ScoredPosts(
        ids, part, f"{posts.protocol}/{part}", tuple(i for i in labels if i in known)
    )


def _known(
    run: Run,
    members: Sequence[Member],
    labels: Mapping[str, str],
    name: str,
    contents: DigestsByPost,
) -> set[str]:
    """Posts that the run was trained or selected on; compared by contents if it recorded them."""
    used = [member for member in members if member.split in (TRAIN, VAL)]
    if contents:
        read = [Modality(name) for name in run.config["caches"]]
        seen = {tuple(member.contents.get(name) for name in read) for member in used}
        now = {i: tuple(contents[i].get(name) for name in read) for i in labels}
        return {i for i, content in now.items() if None not in content and content in seen}
    if name != run.config["data"]["name"]:
        return set()
    rows = {(member.post_id, member.label) for member in used}
    return {i for i, label in labels.items() if (i, label) in rows}


def _require_known_classes(run: Run, posts: PostSet, labels: Mapping[str, str]) -> None:
    classes = run.config["data"]["classes"]
    strange = sorted(set(labels.values()) - set(classes))
    if strange:
        some = [i for i, label in labels.items() if label in strange]
        raise RunError(
            f"{len(some):,} of these posts have labels that are not among the run's classes",
            where=posts.storage.root,
            expected=f"classes of the run: {', '.join(classes)}",
            found=name_some(strange),
            hint="spell the labels like the run's classes, or leave those posts out",
        )
