"""The Ray cluster itself: reaching it, and how many actors it has room for."""

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Any

from mvsa_pipe.errors import ConfigError

# Asked before Ray is: without an answer Ray itself tries for minutes, then ends the process.
_CONNECT_SECONDS = 5.0

# Ray takes a third of the memory for objects otherwise; leases and replies are small.
_LOCAL_OBJECT_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Team:
    """How many actors there are, and what each needs.

    Attributes:
        count: Actors.
        cpus: CPUs of one, as Ray counts them.
        gpus: GPUs of one.
        sharing: How many actors share a machine.
    """

    count: int
    cpus: float
    gpus: int
    sharing: int

    @classmethod
    def for_nodes(cls, nodes: Sequence[dict[str, Any]], wanted: int, device: str) -> "Team":
        """One actor a GPU; where there are none, or not to be used, one a machine."""
        alive = [node["Resources"] for node in nodes if node["Alive"]]
        gpus = [int(resources.get("GPU", 0)) for resources in alive]
        if device != "cpu" and any(gpus):
            return cls(wanted or sum(gpus), 1, 1, max(gpus))
        cpus = [resources["CPU"] for resources in alive if resources.get("CPU", 0) >= 1] or [1.0]
        count = wanted or len(cpus)
        sharing = ceil(count / len(cpus))
        each = min(cpus) / sharing
        return cls(count, float(int(each)) if each >= 1 else each, 0, sharing)


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray, connected to a cluster, or to one of this machine's own that ends with the extraction.

    Who has connected to a cluster already, keeps it: the address is not looked at.

    Raises:
        ConfigError: The package is absent, or no cluster answers.
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            "--ray needs Ray, which is not installed", hint='pip install "mvsa-pipe[ray]"'
        ) from error
    if ray.is_initialized():
        yield ray
        return
    local: dict[str, Any] = {}
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody was asked
        local = {"include_dashboard": False, "object_store_memory": _LOCAL_OBJECT_BYTES}
    try:
        _require_answer(address)
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **local)
    except (OSError, ValueError, RuntimeError, ImportError, ray.exceptions.RayError) as error:
        raise ConfigError(
            "No Ray cluster answers",
            where=f"--ray {address}",
            expected="local, auto, HOST:PORT or ray://HOST:PORT",
            found=str(error).strip().splitlines()[0],
            hint="start one on its first machine: ray start --head",
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Refuses what nobody listens at."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
