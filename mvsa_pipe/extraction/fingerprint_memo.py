"""Remembers the fingerprint of an extraction, so that the backbone need not be loaded again.

Loading torch and a backbone takes seconds only to compute its digest. The result is kept beside the
caches, and is valid while the weight files, the packages, the machine and the options are the same.
"""

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvsa_pipe import backbones
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.durable import write_memo
from mvsa_pipe.errors import StorageError
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.file_stamps import file_stamp, is_settled
from mvsa_pipe.provenance import package_versions


@dataclass(frozen=True)
class ResolvedFingerprint:
    """Fingerprint and device that an extraction's options resolve to on this machine.

    Attributes:
        fingerprint: The cache's identity.
        device: The device that will compute.
    """

    fingerprint: Fingerprint
    device: str


def recall(backbone: BackboneOptions, options: ExtractOptions) -> ResolvedFingerprint | None:
    """The remembered result for the same options, if it is still valid."""
    try:
        known = json.loads(_memo(backbone, options).read_text(encoding="utf-8"))
        if known["question"] != _question(backbone, options):
            return None
        if any([*file_stamp(path)] != stamp for path, stamp in known["witnesses"].items()):
            return None
        return ResolvedFingerprint(Fingerprint.from_json(known["fingerprint"]), known["device"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # an invalid memo is ignored; the backbone is loaded instead


def memos(cache: Path) -> Iterator[tuple[Fingerprint, object]]:
    """Remembered fingerprints of a folder of caches, and records of their backbones."""
    for path in sorted((cache / ".resolved").glob("*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            known = json.loads(path.read_text(encoding="utf-8"))
            yield Fingerprint.from_json(known["fingerprint"]), known["question"]["backbone"]


def remember(
    backbone: BackboneOptions,
    options: ExtractOptions,
    resolved: ResolvedFingerprint,
    witnesses: Iterable[Path],
    loaded_since: float,
) -> None:
    """Saves the fingerprint of a loaded backbone.

    Args:
        backbone: The backbone.
        options: Options of the extraction.
        resolved: The fingerprint and device.
        witnesses: The files that determine its identity.
        loaded_since: Start of loading (seconds since 1970): files that changed later may not be
            those that were loaded.
    """
    # A memo only saves time; the extraction itself reports errors of the disk.
    with suppress(OSError, StorageError):
        stamps = {str(path): file_stamp(path) for path in witnesses}
        if all(is_settled(stamp, loaded_since) for stamp in stamps.values()):
            known = {
                "question": _question(backbone, options),
                "fingerprint": resolved.fingerprint.to_json(),
                "device": resolved.device,
                "witnesses": stamps,
            }
            write_memo(_memo(backbone, options), known)
        else:
            _memo(backbone, options).unlink(missing_ok=True)


def _memo(backbone: BackboneOptions, options: ExtractOptions) -> Path:
    line = json.dumps(_question(backbone, options), sort_keys=True)
    return options.cache / ".resolved" / f"{hashlib.sha256(line.encode()).hexdigest()[:16]}.json"


def _question(backbone: BackboneOptions, options: ExtractOptions) -> dict[str, Any]:
    """Everything that determines the fingerprint, except the content of the witnesses."""
    gpus = sorted(p.name for p in Path("/dev").glob("nvidia*")) if Path("/dev").is_dir() else []
    return {
        "backbone": backbone.located().as_record(),
        "device": options.device,
        "precision": options.precision,
        "dtype": options.dtype.value,
        "keep": options.keep.value,
        "versions": package_versions(),
        "code": _code_digest(),
        "machine": [platform.node(), platform.machine(), _cpu_digest(), *gpus],
        "visible_gpus": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        "hubs": [os.environ.get(name, "") for name in ("HF_HOME", "HF_HUB_CACHE", "TORCH_HOME")],
    }


def _code_digest() -> str:
    """Digest of the package ``backbones``: code in development changes without its version."""
    digest = hashlib.sha256()
    for path in sorted(Path(backbones.__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _cpu_digest() -> str:
    """Digest of the CPU's capabilities, which determine the arithmetic."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor()
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
    facts = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    return hashlib.sha256("".join(sorted(facts)).encode()).hexdigest()[:16]
