"""Spreads an extraction over a Ray cluster: parts are leased to actors and committed here.

This process alone opens the caches, cuts the parts and writes the manifest. An actor that is lost
costs its leases, which another takes over; a file that a lost one still writes has a name of its
own, is committed by nobody and is swept with what else an interruption leaves.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mvsa_pipe.errors import CacheError, MvsaError
from mvsa_pipe.extraction.job import Job, Surroundings
from mvsa_pipe.extraction.ray_actor import Assignment, Delivery, ExtractionActor, Ready, pack
from mvsa_pipe.extraction.ray_connection import Team, connected
from mvsa_pipe.extraction.ray_ledger import Lease, Ledger
from mvsa_pipe.provenance import package_versions

if TYPE_CHECKING:
    from mvsa_pipe.extraction.work import Batch

# One lease computes while the one before is written.
_LEASES_AN_ACTOR = 2

# A part that ends so many actors would end any other; so would backbones that load on none.
_MOST_LOSSES = 3

# After so long without an actor that works, the user hears what is waited for.
_PATIENCE_SECONDS = 30.0


@dataclass(eq=False)
class _Actor:
    """One actor, and how many leases it has; none before it is ready."""

    handle: Any
    ready: bool = False
    leases: int = 0


@dataclass(eq=False)
class _Call:
    """What an actor was asked: a lease, or ``None`` to make itself ready."""

    actor: _Actor
    lease: Lease | None


def compute_on_ray(
    jobs: Sequence[Job], parts: Iterator[tuple[int, list["Batch"]]], around: Surroundings
) -> Iterator[int]:
    """Has a cluster compute parts and commits them; yields the bytes of each.

    Args:
        jobs: The backbones that are fed, loaded.
        parts: The parts with their numbers among all parts.
        around: What the backbones share.

    Raises:
        ConfigError: There is no Ray, or no cluster.
        CacheError: Actors have other weights, or a part is not what it claims to be.
        MvsaError: Whatever an actor raised, or a part was lost again and again.
    """
    with connected(around.options.ray) as ray:
        yield from _Crew(ray, jobs, around).run(parts)


class _Crew:
    """Actors at work: every one has leases as long as there are any."""

    def __init__(self, ray: Any, jobs: Sequence[Job], around: Surroundings) -> None:  # noqa: ANN401
        self._ray, self._jobs, self._around = ray, jobs, around
        options = around.options
        self._ledger = Ledger(jobs, options.ray_parts)
        self._team = Team.for_nodes(ray.nodes(), options.ray_actors, options.device)
        self._assignment = Assignment.of(
            [job.backbone for job in jobs], options, around.posts, self._team.sharing
        )
        self._kind = ray.remote(ExtractionActor).options(
            num_cpus=self._team.cpus,
            num_gpus=self._team.gpus,
            max_concurrency=_LEASES_AN_ACTOR,
            scheduling_strategy="SPREAD",
        )
        self._actors: list[_Actor] = []
        self._calls: dict[Any, _Call] = {}
        self._queue: deque[Lease] = deque()
        self._failed_starts = 0

    def run(self, parts: Iterator[tuple[int, list["Batch"]]]) -> Iterator[int]:
        """Leases all parts and commits what comes back; yields the bytes of each."""
        try:
            for _ in range(self._team.count):
                self._start()
            while self._more(parts) or any(call.lease for call in self._calls.values()):
                self._feed(parts)
                yield from self._hear()
            self._ledger.close()
        finally:
            for actor in self._actors:
                self._end(actor)

    def _more(self, parts: Iterator[tuple[int, list["Batch"]]]) -> bool:
        """Whether a part waits for an actor; cuts the next when none does."""
        if not self._queue:
            for number, part in parts:
                ids = {item.id for batch in part for items in batch for item in items}
                names = self._ledger.names(number)
                self._queue.append(Lease(number, pack(part), len(ids), names))
                break
        return bool(self._queue)

    def _feed(self, parts: Iterator[tuple[int, list["Batch"]]]) -> None:
        """Gives every actor what it can take, one lease at a time all around."""
        for held in range(_LEASES_AN_ACTOR):
            for actor in self._actors:
                if actor.ready and actor.leases == held and self._more(parts):
                    lease = self._queue.popleft()
                    lease.places = self._ledger.places(lease.names)
                    reference = actor.handle.compute.remote(lease.packed, lease.places)
                    self._calls[reference] = _Call(actor, lease)
                    actor.leases += 1

    def _hear(self) -> Iterator[int]:
        """Waits for an answer, and does what follows from it."""
        patience = None if any(a.ready for a in self._actors) else _PATIENCE_SECONDS
        answered, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=patience)
        if not answered:
            team = self._team
            self._around.progress.say(
                f"waiting for Ray to start {team.count} actors of {team.cpus:g} CPUs and "
                f"{team.gpus} GPUs each"
            )
        for reference in answered:
            call = self._calls.pop(reference)
            try:
                answer = self._ray.get(reference)
            except self._ray.exceptions.RayTaskError:
                raise  # a defect, which another actor has as well
            except self._ray.exceptions.RayError as error:
                self._lose(call, error)
                continue
            if isinstance(answer, MvsaError):
                raise answer
            if call.lease is None:
                self._welcome(call.actor, answer)
            else:
                yield self._take(call.actor, call.lease, answer)

    def _take(self, actor: _Actor, lease: Lease, done: Delivery) -> int:
        actor.leases -= 1
        self._ledger.commit(lease, done)
        self._around.clock.absorb(done.profile, sum(a.ready for a in self._actors))
        self._around.progress.advance(lease.posts)
        return done.hidden_bytes

    def _start(self) -> None:
        actor = _Actor(self._kind.remote(self._assignment))
        self._actors.append(actor)
        self._calls[actor.handle.open.remote()] = _Call(actor, None)

    def _end(self, actor: _Actor) -> None:
        with suppress(self._ray.exceptions.RayError, ConnectionError):
            self._ray.kill(actor.handle)

    def _welcome(self, actor: _Actor, found: Ready) -> None:
        """Gives leases only to who computes the same values.

        Raises:
            CacheError: It has other weights, options or arithmetic.
        """
        for job, theirs in zip(self._jobs, found.fingerprints, strict=True):
            rows = job.resolution.fingerprint.differences(theirs)
            if rows:
                named = "; ".join(f"{k} is {b!r}, here {a!r}" for k, (a, b) in rows.items())
                raise CacheError(
                    f"A Ray actor would compute other features of {job.backbone.name}",
                    where=found.node,
                    expected=f"fingerprint {job.resolution.fingerprint.digest}",
                    found=named,
                    hint="give all machines the same weights, and name --precision",
                )
        here = package_versions()
        others = [f"{k} {v} (here {here[k]})" for k, v in found.versions.items() if v != here[k]]
        if others:
            self._around.progress.say(f"{found.node} has other packages: {', '.join(others)}")
        actor.ready, self._failed_starts = True, 0

    def _lose(self, call: _Call, error: Exception) -> None:
        """Puts another actor in the place of a lost one, and its lease first in the queue.

        Raises:
            MvsaError: That happened too often.
        """
        reason = str(error).strip().splitlines()[-1].strip()
        if call.actor in self._actors:  # both its leases are lost, but one actor
            self._actors.remove(call.actor)
            self._end(call.actor)
            self._around.progress.say("a Ray actor was lost; another takes its place")
            self._start()
        lease = call.lease
        losses = self._failed_starts + 1 if lease is None else lease.losses + 1
        if losses > _MOST_LOSSES:
            doing = (
                "the backbones were loaded"
                if lease is None
                else f"part {lease.number} was computed"
            )
            raise MvsaError(
                f"{losses} Ray actors were lost while {doing}",
                where=self._around.options.ray,
                found=reason,
                hint="look into Ray's logs: machines need this mvsa-pipe installed, and memory; "
                "what was committed stays",
            )
        if lease is None:
            self._failed_starts = losses
        else:
            lease.losses = losses
            self._ledger.discard(lease)
            self._queue.appendleft(lease)
