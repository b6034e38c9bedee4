"""How to repeat runs: commands, versions, caches, hardware."""

import shlex
from collections.abc import Sequence

from mvsa_pipe.analysis.finding import Cell, FindingTable
from mvsa_pipe.analysis.leaks import cache_folder_of
from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.modality import Modality
from mvsa_pipe.reports.cells import NOT_RECORDED
from mvsa_pipe.reports.content import Command, RepeatSection
from mvsa_pipe.reports.given_runs import GivenRuns
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.backbones import records_of
from mvsa_pipe.runs.options import CacheChoice, reproduce_command


def repeat_section(given: GivenRuns) -> RepeatSection:
    """What is needed to repeat some runs."""
    runs = given.runs
    folder = cache_folder_of(runs[0])
    caches = CacheChoice() if folder is None else CacheChoice(folder)
    commands = [
        Command(line, "trains all of these runs again, if another --runs is added")
        for line in given.commands
    ]
    commands += [
        Command(
            reproduce_command(str(runs[0].path), caches),
            "trains a run again from its record, and compares: this one, and so for all",
        ),
        Command(shlex.join(["mvsa", "report", *given.named]), "writes this report again"),
    ]
    return RepeatSection(commands, [_versions(runs), _caches(runs), _runs(runs)])


def _versions(runs: Sequence[Run]) -> FindingTable:
    """Versions of packages, devices and options: a row for each set that occurs."""
    found: dict[str, dict[str, int]] = {}
    for run in runs:
        versions = dict(run.config.get("versions", {}))
        versions["device"] = str(run.metrics.get("device", NOT_RECORDED))
        for name, value in versions.items():
            counts = found.setdefault(str(name), {})
            counts[str(value)] = counts.get(str(value), 0) + 1
    rows: list[list[Cell]] = [
        [name, value, count] for name, values in found.items() for value, count in values.items()
    ]
    return FindingTable("versions and hardware", ["what", "version", "runs"], rows)


def _caches(runs: Sequence[Run]) -> FindingTable:
    rows: dict[str, list[Cell]] = {}
    for run in runs:
        for modality in Modality:
            if modality.value not in run.config["caches"]:
                continue
            for record in records_of(run, modality):
                print_ = Fingerprint.from_json(record["fingerprint"])
                rows.setdefault(
                    print_.digest,
                    [
                        print_.backbone,
                        modality.value,
                        print_.digest,
                        print_.layers,
                        print_.pooling,
                        f"{print_.precision}, kept as {print_.dtype}",
                        print_.weights,
                    ],
                )
    columns = ["backbone", "reads", "fingerprint", "layers", "pooling", "precision", "weights"]
    return FindingTable("caches", columns, list(rows.values()))


def _runs(runs: Sequence[Run]) -> FindingTable:
    rows: list[list[Cell]] = [
        [
            str(run.config["head"]),
            " ".join(map(str, run.config.get("seeds") or [run.config["training"]["seed"]])),
            str(run.path),
            str(run.config.get("written") or NOT_RECORDED),
        ]
        for run in runs
    ]
    return FindingTable("runs", ["head", "seed", "folder", "written"], rows)
