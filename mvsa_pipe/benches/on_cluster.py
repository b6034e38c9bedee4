"""Trains a bench on a cluster whose machines see posts and caches under the same paths."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from mvsa_pipe.benches.loaded import LoadSpec
from mvsa_pipe.benches.trials import Results, TrialGroup
from mvsa_pipe.cluster.connection import connected
from mvsa_pipe.cluster.pool import LostWorkersError, Pool, Worker
from mvsa_pipe.devices import cpu_threads
from mvsa_pipe.errors import MvsaError


class _BenchWorker(Worker[TrialGroup, Results]):
    """Loads posts and features once, and trains groups of trials one after another."""

    def __init__(self, load_spec: LoadSpec) -> None:
        with cpu_threads(1):
            self._loaded = load_spec.load()

    def do(self, unit: TrialGroup, attempt: int) -> Results:  # noqa: ARG002  # nothing is left of others
        """Trains a group on one core, as on this machine."""
        with cpu_threads(1):
            return list(self._loaded.train(unit, threads=1))


def train_on_cluster(
    address: str,
    load_spec: LoadSpec,
    groups: Sequence[TrialGroup],
    device: str,
    say: Callable[[str], None],
) -> Iterator[tuple[TrialGroup, Results]]:
    """Trains groups of trials on a cluster, one per GPU or core; yields each with its results.

    Args:
        address: The cluster.
        load_spec: Posts and features.
        groups: The groups, in start order.
        device: Device of the training, as typed.
        say: Called with lines for the user.

    Raises:
        ConfigError: Ray is not installed, or the cluster does not respond.
        MvsaError: An error that affects all groups.
    """
    with connected(address) as cluster:
        pool = Pool(
            cluster,
            cluster.plan(device, one_core=True),
            partial(_BenchWorker, load_spec),
            say,
            lambda group: f"{group[0].spec.head} was trained",
        )
        for group, result, _ in pool.run(groups):
            if isinstance(result, LostWorkersError):  # the other groups are still trained
                yield group, [result] * len(group)
            elif isinstance(result, MvsaError):
                raise result
            else:
                yield group, result
