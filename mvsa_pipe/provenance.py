"""Provenance of records: versions, time and peak memory; imports none of the packages."""

import platform
import resource
import sys
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path

from mvsa_pipe import __version__

_PACKAGES = ("torch", "torchvision", "transformers", "numpy", "h5py", "scikit-learn")


def package_versions() -> dict[str, str]:
    """Versions of mvsa-pipe, Python and the packages that affect results."""
    versions = {"mvsa-pipe": __version__, "python": platform.python_version()}
    return versions | {package: _version(package) for package in _PACKAGES}


@cache  # every run of a bench records them, and reading them from the disk takes 5 ms each
def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def now() -> str:
    """The current time, ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def peak_memory_bytes() -> int:
    """Peak resident memory of this process in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # on Linux getrusage starts from the parent's peak
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # others count kilobytes
