"""A pool of workers on a cluster: each gets units of work, and results are yielded as they end.

A lost worker is replaced, and its units go to the others first. A unit that loses several workers
ends with an error.
"""

import pickle
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from mvsa_pipe.cluster.connection import Cluster, WorkerPlan
from mvsa_pipe.errors import MvsaError

# A unit that lost this many workers counts as failed; so does the set-up of workers.
_MOST_LOSSES = 3

# Seconds without a ready worker, after which the user sees what the pool waits for.
_PATIENCE_SECONDS = 30.0

UnitT = TypeVar("UnitT")
ResultT = TypeVar("ResultT")

# A unit, its result or error, and the number of attempts.
Ended = tuple[UnitT, ResultT | MvsaError, int]


class Worker(ABC, Generic[UnitT, ResultT]):
    """Does units of work in a process of the cluster.

    Attributes:
        remarks: Sentences shown to the user before the worker gets its first unit.
    """

    remarks: Sequence[str] = ()

    @abstractmethod
    def do(self, unit: UnitT, attempt: int) -> ResultT:
        """Does one unit; called from as many threads as a worker has leases.

        Args:
            unit: The unit.
            attempt: Number of workers that were lost with this unit before.

        Raises:
            MvsaError: It becomes the outcome of the unit.
        """


class LostWorkersError(MvsaError):
    """One worker after another was lost with the same unit, or while it was set up."""


class PoolActor:
    """Runs a worker in a Ray process; returns an ``MvsaError``, as Ray would wrap a raised one."""

    _worker: Worker[Any, Any]

    def set_up(self, make: bytes) -> Sequence[str] | MvsaError:
        """Makes the worker and returns its remarks."""
        try:  # unpickling opens files, which another machine may lack
            self._worker = pickle.loads(make)()  # noqa: S301  # sent by the pool
        except MvsaError as error:
            return error
        return self._worker.remarks

    def do(self, unit: object, attempt: int) -> object:
        """Does one unit."""
        try:
            return self._worker.do(unit, attempt)
        except MvsaError as error:
            return error


@dataclass(eq=False)
class _Actor:
    """One Ray actor; it gets leases once it is ready."""

    handle: Any
    ready: bool = False
    leases: int = 0


class Pool(Generic[UnitT, ResultT]):
    """Workers that do units in parallel.

    Args:
        cluster: The cluster.
        plan: Number of workers, and the resources of each.
        make: Makes a worker, in its process.
        say: Called with sentences for the user.
        doing: Describes the work on a unit, for errors: "part 3 was computed".
        leases: Units that a worker has at a time.
    """

    def __init__(
        self,
        cluster: Cluster,
        plan: WorkerPlan,
        make: Callable[[], Worker[UnitT, ResultT]],
        say: Callable[[str], None],
        doing: Callable[[UnitT], str],
        leases: int = 1,
    ) -> None:
        self._ray, self._address, self._plan = cluster.ray, cluster.address, plan
        self._say, self._doing, self._most_leases = say, doing, leases
        self._make = self._ray.cloudpickle.dumps(make)
        self._kind = self._ray.remote(PoolActor).options(
            num_cpus=plan.cpus,
            num_gpus=plan.gpus,
            max_concurrency=leases,
            scheduling_strategy="SPREAD",
        )
        self._actors: list[_Actor] = []
        # Units with the number of workers lost with each: waiting, and leased. No unit: set-up
        self._queue: deque[tuple[UnitT, int]] = deque()
        self._calls: dict[Any, tuple[_Actor, tuple[UnitT, int] | None]] = {}
        self._failed_set_ups = 0

    def run(self, units: Iterable[UnitT]) -> Iterator[Ended[UnitT, ResultT]]:
        """Does all units; yields each as it ends, and finally ends all workers.

        A unit is drawn when a worker is free; there are never more workers than units.

        Raises:
            LostWorkersError: Workers were lost repeatedly while they were set up.
            MvsaError: A worker cannot be set up.
        """
        waiting = ((unit, 0) for unit in units)
        try:
            self._queue.extend(islice(waiting, self._plan.count))
            for _ in range(len(self._queue)):
                self._start()
            while self._fill(waiting) or any(lease for _, lease in self._calls.values()):
                self._give(waiting)
                yield from self._fetch()
        finally:
            for actor in self._actors:
                self._end(actor)

    def _fill(self, waiting: Iterator[tuple[UnitT, int]]) -> bool:
        """Draws a unit if none is queued; returns whether one is queued."""
        if not self._queue:
            self._queue.extend(islice(waiting, 1))
        return bool(self._queue)

    def _give(self, waiting: Iterator[tuple[UnitT, int]]) -> None:
        """Leases units to the workers with fewest leases, until all have as many as allowed."""
        while self._fill(waiting):
            free = [a for a in self._actors if a.ready and a.leases < self._most_leases]
            if not free:
                return
            actor, lease = min(free, key=lambda actor: actor.leases), self._queue.popleft()
            self._calls[actor.handle.do.remote(*lease)] = actor, lease
            actor.leases += 1

    def _fetch(self) -> Iterator[Ended[UnitT, ResultT]]:
        """Waits for one call to end; yields its unit, unless it must be repeated."""
        patience = None if any(actor.ready for actor in self._actors) else _PATIENCE_SECONDS
        ended, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=patience)
        if not ended:
            plan = self._plan
            self._say(
                f"waiting for Ray to start {len(self._actors)} workers of {plan.cpus:g} CPUs and "
                f"{plan.gpus} GPUs each"
            )
        for reference in ended:
            actor, lease = self._calls.pop(reference)
            try:
                answer = self._ray.get(reference)
            except self._ray.exceptions.RayTaskError:
                raise  # a defect, which would affect every worker
            except self._ray.exceptions.RayError as error:
                yield from self._lose(actor, lease, error)
                continue
            if lease is not None:
                actor.leases -= 1
                yield lease[0], answer, lease[1] + 1
            elif isinstance(answer, MvsaError):
                raise answer
            else:
                for remark in answer:
                    self._say(remark)
                actor.ready, self._failed_set_ups = True, 0

    def _start(self) -> None:
        actor = _Actor(self._kind.remote())
        self._actors.append(actor)
        self._calls[actor.handle.set_up.remote(self._make)] = actor, None

    def _end(self, actor: _Actor) -> None:
        with suppress(self._ray.exceptions.RayError, ConnectionError):
            self._ray.kill(actor.handle)

    def _lose(
        self, actor: _Actor, lease: tuple[UnitT, int] | None, error: Exception
    ) -> Iterator[Ended[UnitT, ResultT]]:
        """Replaces a lost worker and queues its lease again; yields a unit lost too often.

        Raises:
            LostWorkersError: Too many workers were lost while they were set up.
        """
        reason = str(error).strip().splitlines()[-1].strip()
        if actor in self._actors:  # all its leases are lost, but one worker
            self._actors.remove(actor)
            self._end(actor)
            self._say("a Ray worker was lost and is being replaced")
            self._start()
        if lease is None:
            self._failed_set_ups += 1
            if self._failed_set_ups > _MOST_LOSSES:
                raise self._lost(self._failed_set_ups, "they were set up", reason)
            return
        unit, losses = lease[0], lease[1] + 1
        if losses > _MOST_LOSSES:
            yield unit, self._lost(losses, self._doing(unit), reason), losses
        else:
            self._queue.appendleft((unit, losses))

    def _lost(self, count: int, doing: str, reason: str) -> LostWorkersError:
        return LostWorkersError(
            f"{count} Ray workers were lost while {doing}",
            where=f"--ray {self._address}",
            found=reason,
            hint="read Ray's logs: every machine needs this mvsa-pipe and enough memory; then run "
            "the same again, which keeps what is done",
        )
