"""Spreads a bench over a cluster whose machines see posts and caches under the same paths."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from mvsa_pipe.benches.threads import Results, TrialGroup
from mvsa_pipe.benches.trials import LoadedBench
from mvsa_pipe.cluster.connection import connected
from mvsa_pipe.cluster.pool import LostWorkersError, Pool, Worker
from mvsa_pipe.devices import cpu_threads
from mvsa_pipe.errors import MvsaError
from mvsa_pipe.heads.own import add_same_head, head_origin
from mvsa_pipe.posts.splits.make_split import AUTO, PUBLISHED
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.user_code import Origin


@dataclass(frozen=True)
class LoadSpec:
    """What is loaded for the runs of a bench, here or by every worker.

    Attributes:
        data: The posts and their split.
        caches: Their features.
        heads: The heads of the bench.
        split_seed: Seed of the first split, if not the one that ``data`` names.
        without: Posts that are left out.
        own: Where the classes of own heads come from, for other processes.
    """

    data: DataChoice
    caches: CacheChoice
    heads: tuple[str, ...]
    split_seed: int | None
    without: frozenset[str] = frozenset()
    own: tuple[Origin, ...] = ()

    def load(self) -> LoadedBench:
        """The posts and features, ready for tasks.

        Raises:
            MvsaError: As ``prepare``.
            ConfigError: An own head is not the same here.
        """
        for origin in self.own:
            add_same_head(origin)
        return LoadedBench(self.data, self.caches, self.heads, self.split_seed, self.without)

    def anywhere(self) -> "LoadSpec":
        """The same with absolute paths, for processes with another working directory."""
        data, split = self.data, self.data.split
        if split not in (AUTO, PUBLISHED) and not split.startswith("random"):
            split = str(Path(split).resolve())
        return replace(
            self,
            data=replace(data, path=data.path.resolve(), split=split),
            caches=replace(self.caches, folder=self.caches.folder.resolve()),
            own=tuple(own for head in self.heads if (own := head_origin(head)) is not None),
        )


class _BenchWorker(Worker[TrialGroup, Results]):
    """Loads posts and features once, and trains one task after another."""

    def __init__(self, load_spec: LoadSpec) -> None:
        with cpu_threads(1):
            self._loaded = load_spec.load()

    def do(self, unit: TrialGroup, attempt: int) -> Results:  # noqa: ARG002  # nothing is left of others
        """Trains a task on one core, as on this machine."""
        with cpu_threads(1):
            return list(self._loaded.do(unit, threads=1))


def do_on_cluster(
    address: str,
    load_spec: LoadSpec,
    tasks: Sequence[TrialGroup],
    device: str,
    say: Callable[[str], None],
) -> Iterator[tuple[TrialGroup, Results]]:
    """Does tasks on a cluster, one a GPU or core at a time; yields each with its results.

    Args:
        address: The cluster.
        load_spec: What is loaded for the runs of a bench, here or by every worker.
        tasks: The tasks, in the order in which they begin.
        device: Where runs are trained, as the user named it.
        say: Is called with sentences for the user.

    Raises:
        ConfigError: Ray is not installed, or no cluster answers.
        MvsaError: A task raised it, and so would all.
    """
    with connected(address) as cluster:
        pool = Pool(
            cluster,
            cluster.team(device, one_core=True),
            partial(_BenchWorker, load_spec),
            say,
            lambda task: f"{task[0].spec.head} was trained",
        )
        for task, result, _ in pool.run(tasks):
            if isinstance(result, LostWorkersError):  # the other tasks are done nevertheless
                yield task, [result] * len(task)
            elif isinstance(result, MvsaError):
                raise result
            else:
                yield task, result
