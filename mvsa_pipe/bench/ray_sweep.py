"""Tasks done on a Ray cluster, whose machines see posts and caches under the same paths."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mvsa_pipe.bench.crew import Outcomes, Task
from mvsa_pipe.bench.failures import LostWorkersError
from mvsa_pipe.bench.tasks import Workshop
from mvsa_pipe.devices import cpu_threads
from mvsa_pipe.errors import MvsaError
from mvsa_pipe.extraction.ray_connection import connected
from mvsa_pipe.posts.splits import AUTO, PUBLISHED
from mvsa_pipe.runs.options import CacheChoice, DataChoice

# A task that ends so many workers would end any other.
_MOST_LOSSES = 3


@dataclass(frozen=True)
class Order:
    """What every worker loads.

    Attributes:
        data: The posts and their split.
        caches: Their features.
        heads: The heads of the bench.
        split_seed: Seed of the first split, if not the one that ``data`` names.
        without: Posts that are left out.
    """

    data: DataChoice
    caches: CacheChoice
    heads: tuple[str, ...]
    split_seed: int | None
    without: frozenset[str] = frozenset()

    def load(self) -> Workshop:
        """The posts and features, ready for tasks.

        Raises:
            MvsaError: As ``prepare``.
        """
        return Workshop(self.data, self.caches, self.heads, self.split_seed, self.without)

    def anywhere(self) -> "Order":
        """The same order with absolute paths, for processes that began elsewhere."""
        data, split = self.data, self.data.split
        if split not in (AUTO, PUBLISHED) and not split.startswith("random"):
            split = str(Path(split).resolve())
        return replace(
            self,
            data=replace(data, path=data.path.resolve(), split=split),
            caches=replace(self.caches, folder=self.caches.folder.resolve()),
        )


_loaded: dict[Order, Workshop] = {}


def _workshop(order: Order) -> Workshop:
    """Loaded once by a worker, which does many tasks; one order's features at a time."""
    if order not in _loaded:
        _loaded.clear()
        _loaded[order] = order.load()
    return _loaded[order]


def _do(order: Order, task: Task) -> Outcomes | MvsaError:
    """One task on a worker; an error of ours comes back as a value, without Ray's traceback."""
    try:
        with cpu_threads(1):
            return list(_workshop(order).do(task, threads=1))
    except MvsaError as error:
        return error


def do_on_ray(address: str, order: Order, tasks: Sequence[Task]) -> Iterator[tuple[Task, Outcomes]]:
    """Does tasks on a cluster, one a GPU or CPU; yields each with its outcomes as it ends.

    A worker that is lost costs its task, which Ray gives to another; a task that was lost again
    and again has failed.

    Raises:
        ConfigError: There is no Ray, or no cluster.
        MvsaError: Whatever a task raised, which concerns all.
    """
    with connected(address) as ray:
        gpus = any(node["Resources"].get("GPU", 0) for node in ray.nodes() if node["Alive"])
        options = {"num_cpus": 1, "num_gpus": int(gpus), "max_retries": _MOST_LOSSES}
        remote = ray.remote(**options)(_do)
        waiting = {remote.remote(order, task): task for task in tasks}
        while waiting:
            (reference,), _ = ray.wait(list(waiting), num_returns=1)
            task = waiting.pop(reference)
            try:
                answer = ray.get(reference)
            except ray.exceptions.WorkerCrashedError as error:
                lost = LostWorkersError(
                    f"{_MOST_LOSSES + 1} Ray workers were lost while {task[0].head} was trained",
                    where=address,
                    found=str(error).strip().splitlines()[0],
                    hint="look into Ray's logs; what was recorded is not trained again",
                )
                answer = [lost] * len(task)
            if isinstance(answer, MvsaError):
                raise answer
            yield task, answer
