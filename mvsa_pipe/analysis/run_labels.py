"""Short labels of runs: what differs between them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.modality import Modality
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.backbones import records_of

# Folder names up to this length are labels: somebody chose them.
_MOST_NAME = 28

# Training options that do not tell runs apart, or that are told otherwise.
_NOT_TOLD = {"device", "seed"}


class _Fact(NamedTuple):
    """One setting of a run.

    Attributes:
        key: Which one.
        within: Compared only between runs that share this, such as the head of a head's option.
        words: How a label states it.
    """

    key: str
    within: str
    words: str


def run_labels(runs: Sequence[Run]) -> list[str]:
    """A label for each run, all different.

    Names of folders, if they are short; else the settings in which the runs differ: head,
    backbones, seed, options. The head of a single run.
    """
    names = [run.path.resolve().name for run in runs]
    if len(set(names)) == len(names) and max(map(len, names)) <= _MOST_NAME:
        return names
    if len(runs) == 1:
        return [runs[0].title]
    return _different([list(_facts(run)) for run in runs])


def setting_labels(runs: Sequence[Run]) -> list[str]:
    """The settings in which runs differ, but for their seeds, all different; one may be empty."""
    facts = [[fact for fact in _facts(run) if fact.key != "seed"] for run in runs]
    return _different(facts, one_empty=True)


def _different(facts: Sequence[Sequence[_Fact]], *, one_empty: bool = False) -> list[str]:
    """For each run the words of the facts that tell it apart, and its number if they do not.

    Args:
        facts: The facts of each run.
        one_empty: Whether no words may stand for the only run without any.
    """
    differing = _differing(facts)
    labels = [", ".join(f.words for f in of if f[:2] in differing) for of in facts]
    counts = Counter(labels)
    return [
        label if counts[label] == 1 and (label or one_empty) else f"{label} run {number}".strip()
        for number, label in enumerate(labels, 1)
    ]


def _differing(facts: Sequence[Sequence[_Fact]]) -> set[tuple[str, str]]:
    """Keys of the facts that tell runs apart, each with what it is compared within."""
    values: dict[tuple[str, str], list[str]] = {}
    for of_run in facts:
        for fact in of_run:
            values.setdefault((fact.key, fact.within), []).append(fact.words)
    return {
        key
        for key, found in values.items()
        if len(set(found)) > 1 or (not key[1] and len(found) < len(facts))
    }


def _facts(run: Run) -> Iterator[_Fact]:
    config = run.config
    head, data = str(config["head"]), config["data"]
    yield _Fact("head", "", head)
    if "finetune" in config:
        yield _Fact("finetune", "", "fine-tuned")
    for modality in Modality:
        if modality.value in config.get("caches", {}):
            prints = [Fingerprint.from_json(r["fingerprint"]) for r in records_of(run, modality)]
            name = " + ".join(p.backbone for p in prints)
            yield _Fact(modality.value, "", name)
            yield _Fact("digest", name, "+".join(p.digest[:8] for p in prints))
    yield from _options(config.get("head_options", {}), head)
    training = config.get("training", {})
    yield from _options({k: v for k, v in training.items() if k not in _NOT_TOLD}, "")
    other = {key: config.get(key) for key in ("image_grid", "layer_mix")}
    other |= {"split": data.get("split"), "split_seed": data.get("split_seed")}
    yield from _options(other, "")
    seeds = config.get("seeds") or [training.get("seed")]
    yield _Fact("seed", "", f"seed{'s' * (len(seeds) > 1)} {' '.join(map(str, seeds))}")


def _options(options: Mapping[str, Any], within: str) -> Iterator[_Fact]:
    for key, value in options.items():
        named = key.replace("_", " ")
        words = f"{named} {value:g}" if isinstance(value, float) else f"{named} {value}"
        if isinstance(value, bool):
            words = named if value else f"no {named}"
        yield _Fact(key, within, words)
