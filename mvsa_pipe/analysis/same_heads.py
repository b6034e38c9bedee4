"""When the heads of two runs are the same: by options, backbones and class, not by their names."""

from collections.abc import Mapping, Sequence
from typing import Any

from mvsa_pipe.heads.own import SOURCE
from mvsa_pipe.modality import Modality
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.backbones import is_tuned, records_of


def head_settings(run: Run) -> dict[str, Any]:
    """What a run's head is, apart from how it was trained: equal on any data set."""
    config = run.config
    kept = {key: config.get(key) for key in ("head", "head_options", "layer_mix", "image_grid")}
    return kept | {
        "seeds": config.get("seeds") or None,
        "class": config.get(SOURCE, {}).get("sha256"),
        # tuned weights differ between data sets, however alike they were tuned
        "backbones": config["finetune"].get("backbones")
        if is_tuned(run)
        else cached_backbones(run),
    }


def training_settings(run: Run) -> dict[str, Any]:
    """How a run's head was trained, apart from its seed and its posts."""
    known = {k: v for k, v in run.config["training"].items() if k not in ("seed", "device")}
    return known | {"fine-tuning": run.config.get("finetune")}


def cached_backbones(run: Run) -> dict[str, list[str]]:
    """Fingerprints of the features that a run read, by modality."""
    return {
        half: [str(record.get("fingerprint")) for record in records_of(run, Modality(half))]
        for half in run.config["caches"]
    }


def same_head(run: Run, others: Sequence[Run]) -> int | None:
    """The place of the run with the same head: trained alike, or the only one trained otherwise.

    ``None`` if there is none, or if several were trained otherwise.
    """
    same = [n for n, other in enumerate(others) if head_settings(other) == head_settings(run)]
    alike = [n for n in same if training_settings(others[n]) == training_settings(run)]
    if alike:
        return alike[0]
    return same[0] if len(same) == 1 else None


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Settings that differ, with both values where these are short.

    Args:
        one: ``head_settings`` or ``training_settings`` of a run.
        other: Those of another one.
    """
    found = []
    for key in dict.fromkeys([*one, *other]):
        a, b = one.get(key), other.get(key)
        named = key.replace("_", " ")
        if a == b:
            continue
        if key == "class":
            found.append("another class")
        elif isinstance(a, Mapping) and isinstance(b, Mapping) and key != "backbones":
            found += differing(a, b)
        elif isinstance(a, int | float | str) and isinstance(b, int | float | str):
            found.append(f"{named} {a} and {b}")
        else:
            found.append(named)
    return found
