"""What a report contains, as plain values; ``page`` and ``formats`` write it."""

from dataclasses import dataclass, field
from enum import StrEnum

from mvsa_pipe.analysis.finding import Cell, Estimate, Finding, FindingTable, Plot
from mvsa_pipe.analysis.seen_picture import SeenPictures
from mvsa_pipe.metrics.score_table import Score


class Kind(StrEnum):
    """What a row of the leaderboard is."""

    FUSION = "fusion"
    SINGLE = "single modality"
    BASELINE = "baseline"
    FAITHFUL = "as published"
    OTHER = "own head"
    REFERENCE = "reads no posts"


@dataclass(frozen=True)
class LeaderRow:
    """A head, or a method that reads no posts.

    Attributes:
        name: Its name.
        kind: What it is.
        scores: Its scores, in the leaderboard's order; ``None`` where one is not defined.
        anchor: Of its details; empty without them.
        seeds: Number of its runs.
        rank: Its rank by the first score; ``None`` of a method that reads no posts.
        ranks: The ranks that it may have.
        group: 1 if it cannot be told apart from the first; and so on.
        leak_free: Its first score on posts that duplicate no training post.
        not_above: References that it does not beat by more than chance.
        remarks: What a reader must know of it, such as predictions that depend on their batch.
    """

    name: str
    kind: Kind
    scores: list[Estimate | float | None]
    anchor: str = ""
    seeds: int | None = None
    rank: int | None = None
    ranks: tuple[int, int] | None = None
    group: int | None = None
    leak_free: float | None = None
    not_above: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Leaderboard:
    """Heads in order, then the methods that read no posts.

    Attributes:
        scores: The scores; the first one orders the heads.
        rows: The rows.
        axis: Range of the heads' intervals of the first score, and of the majority's score.
        note: How intervals, ranks and groups are computed.
        leaks: Whether some posts leak.
    """

    scores: tuple[Score, ...]
    rows: list[LeaderRow]
    axis: tuple[float, float]
    note: str
    leaks: bool

    @property
    def seeds(self) -> int | None:
        """Seeds of every head; ``None`` if heads have different numbers of them."""
        counts = {row.seeds for row in self.rows if row.seeds is not None}
        return counts.pop() if len(counts) == 1 else None


@dataclass(frozen=True)
class KeyFigure:
    """A number that a reader sees first.

    Attributes:
        value: The number with its unit.
        label: What it is.
        detail: Its interval, or how it was computed.
    """

    value: str
    label: str
    detail: str = ""


@dataclass(frozen=True)
class DataSection:
    """The data set.

    Attributes:
        protocol: The protocol tags of the runs.
        facts: Names and values.
        classes: Posts per part and class.
        faults: What ``mvsa data check`` found; empty if it found nothing.
        unchecked: Why it was not checked; empty if it was.
    """

    protocol: str
    facts: list[tuple[str, str]]
    classes: FindingTable
    faults: list[str]
    unchecked: str = ""


@dataclass(frozen=True)
class Confusion:
    """Posts by true and predicted class, summed over seeds.

    Attributes:
        classes: Names of the classes.
        counts: A list for each true class.
    """

    classes: tuple[str, ...]
    counts: list[list[int]]

    def share(self, true: int, predicted: int) -> float:
        """The share of a true class that was predicted so."""
        total = sum(self.counts[true])
        return self.counts[true][predicted] / total if total else 0.0


@dataclass(frozen=True)
class HeadDetails:
    """One head.

    Attributes:
        anchor: Of its place in the page.
        name: Its name.
        summary: One line: what it computes, seeds, score.
        confusion: Posts by true and predicted class.
        per_class: Precision, recall and F1 of each class.
        plots: Curves; empty for heads beyond ``ReportOptions.curves``.
    """

    anchor: str
    name: str
    summary: str
    confusion: Confusion
    per_class: FindingTable
    plots: list[Plot]


@dataclass(frozen=True)
class HardPost:
    """A post on which heads disagree, or are sure and wrong.

    Attributes:
        post_id: The post.
        label: Its true class.
        predicted: The class of the highest mean probability over heads.
        share: That probability.
        right: Heads that are right.
        heads: Number of heads.
        votes: Heads by the class that they predict.
        text: Its text; ``None`` unless posts are shown.
        picture: Its picture as a small JPEG; ``None`` unless posts are shown.
    """

    post_id: str
    label: str
    predicted: str
    share: float
    right: int
    heads: int
    votes: dict[str, int]
    text: str | None = None
    picture: bytes | None = None


@dataclass(frozen=True)
class HardPosts:
    """Posts that are worth a look.

    Attributes:
        disputed: Posts on which heads disagree most.
        wrong: Posts on which heads are surest and wrong.
        shown: Whether texts and pictures are shown.
    """

    disputed: list[HardPost]
    wrong: list[HardPost]
    shown: bool


@dataclass(frozen=True)
class Command:
    """A command, and what it does."""

    line: str
    purpose: str


@dataclass(frozen=True)
class RepeatSection:
    """What is needed to repeat the runs.

    Attributes:
        commands: The commands.
        tables: Versions, caches, devices and runs.
    """

    commands: list[Command]
    tables: list[FindingTable]


@dataclass(frozen=True)
class ReportContent:
    """Everything in a report.

    Attributes:
        title: One line.
        written: When it was written.
        verdict: The verdict in sentences, the most important first.
        figures: The numbers that a reader sees first.
        data: The data set.
        leaderboard: Heads in order.
        overview: The forest plot of scores, and that of differences.
        pairs: Tests of pairs, and all scores.
        heads: Details of each head, in the leaderboard's order.
        cost_plots: Cost against score.
        costs: What trainings cost.
        hard: Posts that are worth a look.
        claims: Published results: those that are comparable, and the others.
        findings: Results of analyses of these runs.
        repeat: How to repeat the runs.
        failed: Runs without a result, each with its reason.
        pictures: Pictures below overlays of patches, where posts are shown.
    """

    title: str
    written: str
    verdict: list[str]
    figures: list[KeyFigure]
    data: DataSection
    leaderboard: Leaderboard
    overview: list[Plot]
    pairs: list[FindingTable]
    heads: list[HeadDetails]
    cost_plots: list[Plot]
    costs: FindingTable
    hard: HardPosts
    claims: list[FindingTable]
    findings: list[Finding]
    repeat: RepeatSection
    failed: list[tuple[str, str]] = field(default_factory=list)
    pictures: SeenPictures = field(default_factory=dict)

    def tables(self) -> list[FindingTable]:
        """All tables, the leaderboard first."""
        return [
            leaderboard_table(self.leaderboard),
            *self.pairs,
            *(head.per_class for head in self.heads),
            self.costs,
            *hard_tables(self.hard),
            *self.claims,
            *(table for finding in self.findings for table in finding.tables),
            *self.repeat.tables,
        ]


def leaderboard_table(board: Leaderboard) -> FindingTable:
    """The leaderboard as a plain table."""
    titles = [score.row.title for score in board.scores]
    rows: list[list[Cell]] = []
    for row in board.rows:
        ranks = "" if row.ranks is None else _span(row.ranks)
        rows.append([row.name, row.rank, ranks, row.group, *row.scores, row.leak_free, row.kind])
    leak_free = f"{titles[0]} without leaks"
    percent = [score.row.title for score in board.scores if score.row.percent]
    return FindingTable(
        f"heads by {titles[0]}",
        ["head", "rank", "ranks", "group", *titles, leak_free, "kind"],
        rows,
        board.note,
        [*percent, *([leak_free] if board.scores[0].row.percent else [])],
    )


def hard_tables(hard: HardPosts) -> list[FindingTable]:
    """Posts that are worth a look as plain tables, without texts."""
    columns = ["post", "true class", "predicted", "probability", "heads right", "heads"]
    return [
        FindingTable(
            title,
            columns,
            [[p.post_id, p.label, p.predicted, p.share, p.right, p.heads] for p in posts],
            percent=["probability"],
        )
        for title, posts in (("sure and wrong", hard.wrong), ("disputed", hard.disputed))
    ]


def _span(ranks: tuple[int, int]) -> str:
    low, high = ranks
    return str(low) if low == high else f"{low}–{high}"
