"""Connects to a Ray cluster, and plans its workers."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Any

from mvsa_pipe.errors import ConfigError

# Tested before Ray connects: if nothing listens, Ray retries for minutes, then ends the process.
_CONNECT_SECONDS = 5.0

# Ray takes a third of the memory for objects by default; units and results are small.
_LOCAL_OBJECT_BYTES = 256 * 2**20


@dataclass(frozen=True)
class WorkerPlan:
    """Number of workers, and the resources of each.

    Attributes:
        count: Most workers at a time.
        cpus: CPUs of one worker, as Ray counts them.
        gpus: GPUs of one worker.
        sharing: How many workers share a machine.
    """

    count: int
    cpus: float
    gpus: int
    sharing: int


@dataclass(frozen=True)
class Cluster:
    """A connected cluster.

    Attributes:
        ray: The module ``ray``.
        address: The address that the user gave.
    """

    ray: Any
    address: str

    def plan(self, device: str, wanted: int = 0, *, one_core: bool = False) -> WorkerPlan:
        """One worker a GPU; without GPUs, or on the CPU, one a machine or one a core.

        Args:
            device: The device as the user named it; ``cpu`` leaves GPUs unused.
            wanted: Requested number of workers; 0 takes as many as fit.
            one_core: Whether a worker on the CPU takes one core instead of a machine.
        """
        alive = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        gpus = [int(resources.get("GPU", 0)) for resources in alive]
        if device != "cpu" and any(gpus):
            return WorkerPlan(wanted or sum(gpus), 1, 1, max(gpus))
        cpus = [resources["CPU"] for resources in alive if resources.get("CPU", 0) >= 1] or [1.0]
        count = wanted or (sum(map(int, cpus)) if one_core else len(cpus))
        sharing = ceil(count / len(cpus))
        each = 1.0 if one_core else min(cpus) / sharing
        return WorkerPlan(count, float(int(each)) if each >= 1 else each, 0, sharing)


@contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """Connects to a cluster; ``local`` starts one on this machine and stops it afterwards.

    A process that is already connected keeps its cluster; the address is ignored.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            "--ray needs Ray, which is not installed", hint='pip install "mvsa-pipe[ray]"'
        ) from error
    if ray.is_initialized():
        yield Cluster(ray, address)
        return
    local: dict[str, Any] = {}
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # the user did not consent
        local = {"include_dashboard": False, "object_store_memory": _LOCAL_OBJECT_BYTES}
    try:
        _require_answer(address)
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **local)
    except (OSError, ValueError, RuntimeError, ImportError, ray.exceptions.RayError) as error:
        raise ConfigError(
            "There is no Ray cluster at this address",
            where=f"--ray {address}",
            expected="local, auto, HOST:PORT or ray://HOST:PORT",
            found=str(error).strip().splitlines()[0],
            hint="start one on its first machine: ray start --head",
        ) from error
    try:
        yield Cluster(ray, address)
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Raises OSError where nothing listens at the address."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
