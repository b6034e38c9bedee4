"""Which options of training and of heads help, by cross-validation over the real posts.

Every fold trains on three fifths of the posts, selects epochs on one and tests on one. A setting
changes some options; all settings have the same folds, seeds and budget of epochs. Differences to
the defaults are tested over folds (corrected resampled t-test, means over seeds), and adjusted for
all settings of a head (Holm); so are mean differences over heads. The *nested* row takes in each
fold the setting that is best on that fold's own validation posts, as a user's tuning would:
choosing it never saw the test posts.

    python benchmarks/defaults.py fit native-cat gated --seeds 3    # cells, kept in --cells
    python benchmarks/defaults.py fit native-cat --settings "label_smoothing=0.1 ema=0.99"
    python benchmarks/defaults.py table --blend native-cat,gated    # the record, from all cells

The extraction of both backbones is taken from --cache, as ``mvsa extract`` left it. A cell is one
head and setting: probabilities of all folds and seeds. Cells that exist are not trained again.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import material
import numpy as np
import torch
from numpy.typing import NDArray
from record import write_record

from mvsa_pipe.benches.blends import mixture_weights
from mvsa_pipe.devices import cpu_threads
from mvsa_pipe.features.options import FeatureOptions
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.options import OptionValue
from mvsa_pipe.metrics.corrected_t import corrected_mean
from mvsa_pipe.metrics.paired import holm
from mvsa_pipe.metrics.scores import values_of
from mvsa_pipe.metrics.weighted import Answers
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.runs.prepare import Experiment, prepare_heads
from mvsa_pipe.training.fitting import fit_heads
from mvsa_pipe.training.options import RunSpec, TrainingOptions
from mvsa_pipe.training.scoring import predict_probabilities

FOLDS, IMAGE_GRID = 5, 4
DEFAULTS = "defaults"
# Settings of fewer heads are not tested over heads.
_LEAST_HEADS = 3
# One option each. What a head does not have is left out for it.
SETTINGS = (
    "learning_rate=0.0002",
    "learning_rate=0.001",
    "weight_decay=0.1",
    "weight_decay=0.5",
    "batch_size=128",
    "warmup=0",
    "warmup=0.3",
    "epochs=40 patience=0",
    "epochs=10",
    "select=accuracy",
    "select=log_loss",
    "class_weights=balanced",
    "label_smoothing=0.1",
    "label_smoothing=0.2",
    "ema=0.99",
    "ema=0.998",
    "feature_noise=0.3",
    "feature_noise=1.0",
    "modality_dropout=0.2",
    "centre=false",
    "width=128",
    "width=512",
    "hidden=512",
    "dropout=0.2",
    "dropout=0.6",
    "input_dropout=0",
    "input_dropout=0.4",
)
_TRAINING = {field.name: field.type for field in fields(TrainingOptions)}


def divided(setting: str, head: str) -> tuple[dict[str, Any], dict[str, OptionValue]] | None:
    """Options of training and of the head in a setting; ``None`` where the head lacks one."""
    training: dict[str, Any] = {}
    own: dict[str, OptionValue] = {}
    known = {field.name for field in fields(HEADS.load(head).Options)}
    for pair in () if setting == DEFAULTS else setting.split():
        name, _, value = pair.partition("=")
        if name in _TRAINING:
            default = getattr(TrainingOptions, name)
            read = value == "true" if isinstance(default, bool) else type(default)(value)
            training[name] = read
        elif name in known:
            own[name] = value
        else:
            return None
    return training, own


def fitted(
    experiments: Sequence[Experiment], head: str, setting: str, seeds: int
) -> dict[str, NDArray[Any]]:
    """Probabilities ``[seeds, N, C]`` of each fold's validation and test posts."""
    options = divided(setting, head)
    if options is None:
        return {}
    training = replace(TrainingOptions(device="cpu"), **options[0])
    seeds = seeds if HEADS.load(head).seeded else 1
    planned = [
        (experiment.training_data, RunSpec(head, replace(training, seed=seed), options[1]))
        for experiment in experiments
        for seed in range(seeds)
    ]
    done = iter(fit_heads(planned, threads=1))
    cell: dict[str, NDArray[Any]] = {}
    for fold, experiment in enumerate(experiments):
        data, models = experiment.training_data, [next(done).head for _ in range(seeds)]
        for part in ("val", "test"):
            posts = experiment.indices[part]
            shares = [
                predict_probabilities(model, data.features, posts, data.texts) for model in models
            ]
            cell[f"{part}_{fold}"] = np.stack(shares)
            cell[f"{part}_labels_{fold}"] = experiment.labels_of(part)
    return cell


def folds_of(cache: Path, heads: Sequence[str]) -> list[Experiment]:
    """The real posts, divided five times, with the features that some heads read."""
    choice = CacheChoice(cache, features=FeatureOptions(IMAGE_GRID))
    data = DataChoice(material.data_path(cache), split=f"folds-{FOLDS}:1")
    first = prepare_heads(data, choice, heads)
    return [first, *(first.split_as(f"folds-{FOLDS}:{n}", 0) for n in range(2, FOLDS + 1))]


def file_of(cells: Path, head: str, setting: str) -> Path:
    """Where a cell lies."""
    return cells / head / f"{setting.replace(' ', '+')}.npz"


def values(cell: Mapping[str, NDArray[Any]], part: str, score: str) -> NDArray[np.float64]:
    """A score of each fold and seed ``[folds, seeds]``."""
    found = []
    for fold in range(FOLDS):
        labels = cell[f"{part}_labels_{fold}"]
        found.append(
            [
                values_of(Answers(labels, own.argmax(axis=1), own.shape[1], own))[score]
                for own in cell[f"{part}_{fold}"]
            ]
        )
    return np.array(found)


def against(after: NDArray[np.float64], before: NDArray[np.float64]) -> dict[str, Any]:
    """The mean difference of two rows of folds, in points, with interval and p-value."""
    tested = corrected_mean(list(100 * (after - before)), 1 / (FOLDS - 2))
    low, high = tested.interval
    return {
        "difference": round(tested.mean, 2),
        "interval": [round(low, 2), round(high, 2)],
        "p_value": round(tested.p_value, 4),
    }


def row(cells: Mapping[str, Mapping[str, NDArray[Any]]]) -> dict[str, Any]:
    """All settings of a head against its defaults, and what nested selection reaches."""
    before = cells[DEFAULTS]
    base = {name: values(before, "test", name).mean(axis=1) for name in ("accuracy", "f1_macro")}
    validation = {
        setting: values(cell, "val", "accuracy").mean(axis=1) for setting, cell in cells.items()
    }
    tested: dict[str, dict[str, NDArray[np.float64]]] = {
        setting: {name: values(cell, "test", name).mean(axis=1) for name in base}
        for setting, cell in cells.items()
    }
    names = list(cells)
    chosen = [max(names, key=lambda name: validation[name][fold]) for fold in range(FOLDS)]
    nested = {
        name: np.array([tested[setting][name][fold] for fold, setting in enumerate(chosen)])
        for name in base
    }
    settings = {}
    for setting in names:
        if setting != DEFAULTS:
            settings[setting] = {
                "seeds": len(cells[setting]["test_0"]),
                "validation": round(100 * float(validation[setting].mean()), 2),
                **{name: against(tested[setting][name], base[name]) for name in base},
            }
    adjusted = holm([own["accuracy"]["p_value"] for own in settings.values()])
    for own, p_value in zip(settings.values(), adjusted, strict=True):
        own["accuracy"]["p_holm"] = round(p_value, 4)
    return {
        "seeds": len(before["test_0"]),
        "defaults": {
            "validation": round(100 * float(validation[DEFAULTS].mean()), 2),
            **{name: round(100 * float(own.mean()), 2) for name, own in base.items()},
        },
        "settings": settings,
        "nested": {
            "chosen": chosen,
            **{
                name: {"value": round(100 * float(own.mean()), 2), **against(own, base[name])}
                for name, own in nested.items()
            },
        },
    }


def over_heads(cells: Mapping[str, Mapping[str, Mapping[str, NDArray[Any]]]]) -> dict[str, Any]:
    """Each setting of three heads or more, as the mean difference over these heads.

    P-values of accuracy are adjusted for all these settings.
    """
    every = {setting for own in cells.values() for setting in own} - {DEFAULTS}
    found: dict[str, Any] = {}
    for setting in sorted(every):
        heads = [head for head, own in cells.items() if setting in own]
        if len(heads) >= _LEAST_HEADS:
            found[setting] = {"heads": heads}
            for name in ("accuracy", "f1_macro"):
                after, before = (
                    np.mean(
                        [values(cells[h][each], "test", name).mean(axis=1) for h in heads], axis=0
                    )
                    for each in (setting, DEFAULTS)
                )
                found[setting][name] = against(after, before)
    adjusted = holm([own["accuracy"]["p_value"] for own in found.values()])
    for own, p_value in zip(found.values(), adjusted, strict=True):
        own["accuracy"]["p_holm"] = round(p_value, 4)
    return found


def mixture(cells: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[np.float64]]:
    """Scores of the mixture of some cells in each fold, with weights from its validation posts.

    The seeds of a cell are averaged before they are mixed.
    """
    found: dict[str, list[float]] = {"accuracy": [], "f1_macro": []}
    for fold in range(FOLDS):
        of_val = np.stack([cell[f"val_{fold}"].mean(axis=0) for cell in cells])
        of_test = np.stack([cell[f"test_{fold}"].mean(axis=0) for cell in cells])
        weights = mixture_weights(of_val, cells[0][f"val_labels_{fold}"])
        shares = np.einsum("k,knc->nc", weights, of_test)
        answers = Answers(
            cells[0][f"test_labels_{fold}"], shares.argmax(axis=1), shares.shape[1], shares
        )
        for name, every in found.items():
            every.append(values_of(answers)[name])
    return {name: np.array(every) for name, every in found.items()}


def read_cells(folder: Path) -> dict[str, dict[str, dict[str, NDArray[Any]]]]:
    """Every cell by head and setting, heads in the order of their table, defaults first."""
    found: dict[str, dict[str, dict[str, NDArray[Any]]]] = {}
    for name in HEADS.names:
        files = sorted((folder / name).glob("*.npz"), key=lambda f: (f.stem != DEFAULTS, f.stem))
        for file in files:
            with np.load(file) as loaded:
                found.setdefault(name, {})[file.stem.replace("+", " ")] = dict(loaded)
    return found


def fit(arguments: argparse.Namespace) -> None:
    """Trains the cells that are missing."""
    settings = [DEFAULTS, *(arguments.settings or SETTINGS)]
    experiments = folds_of(arguments.cache, arguments.heads)
    for head in arguments.heads:
        for setting in settings:
            file = file_of(arguments.cells, head, setting)
            if file.is_file():
                continue
            with cpu_threads(1):
                cell = fitted(experiments, head, setting, arguments.seeds)
            if cell:
                file.parent.mkdir(parents=True, exist_ok=True)
                np.savez_compressed(file, **cell)  # type: ignore[arg-type]  # as numpy documents
                accuracy = 100 * values(cell, "test", "accuracy").mean()
                print(f"{head} {setting}: {accuracy:.2f}", flush=True)


def blends(
    cells: Mapping[str, Mapping[str, Mapping[str, NDArray[Any]]]], wanted: Sequence[str]
) -> dict[str, Any]:
    """Mixtures of cells, each against the defaults of ``native-cat``.

    Args:
        cells: Every cell by head and setting.
        wanted: ``HEAD:SETTING,HEAD:SETTING,…`` each; without a setting, the defaults.
    """
    base = cells["native-cat"][DEFAULTS]
    before = {name: values(base, "test", name).mean(axis=1) for name in ("accuracy", "f1_macro")}
    found = {}
    for text in wanted:
        named = [one.partition(":") for one in text.split(",")]
        own = mixture([cells[head][setting or DEFAULTS] for head, _, setting in named])
        found[text] = {
            name: {"value": round(100 * float(each.mean()), 2), **against(each, before[name])}
            for name, each in own.items()
        }
    return found


def shown(tested: Mapping[str, Any]) -> str:
    """A difference in points with its interval and p-value."""
    low, high = tested["interval"]
    p_value = tested.get("p_holm", tested["p_value"])
    return f"{tested['difference']:+.1f} [{low:+.1f}, {high:+.1f}], p = {p_value:.2f}"


def table(arguments: argparse.Namespace) -> None:
    """Writes the record and prints a row a head, then a row a blend."""
    cells = {head: own for head, own in read_cells(arguments.cells).items() if DEFAULTS in own}
    heads = {head: row(own) for head, own in cells.items()}
    joint, mixed = over_heads(cells), blends(cells, arguments.blend)
    configuration = {"folds": FOLDS, "image_grid": IMAGE_GRID, "real_posts": material.real()}
    write_record("defaults", configuration, {"heads": heads, "over_heads": joint, "blends": mixed})
    for head, own in heads.items():
        print(f"{head} | {own['defaults']} | nested {shown(own['nested']['accuracy'])}")
        for setting, each in own["settings"].items():
            print(f"    {setting} | {each['validation']} | {shown(each['accuracy'])}")
    for setting, each in joint.items():
        print(f"{len(each['heads'])} heads, {setting} | {shown(each['accuracy'])}")
    for name, each in mixed.items():
        print(f"{name} | {each['accuracy']['value']} | {shown(each['accuracy'])}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, default=Path("runs/defaults"))
    verbs = parser.add_subparsers(required=True)
    fitting = verbs.add_parser("fit")
    fitting.add_argument("heads", nargs="+", choices=HEADS.names)
    fitting.add_argument("--settings", nargs="+", metavar="NAME=VALUE…")
    fitting.add_argument("--seeds", type=int, default=3)
    fitting.add_argument("--cache", type=Path, default=Path("cache"))
    fitting.set_defaults(do=fit)
    tabulating = verbs.add_parser("table")
    tabulating.add_argument("--blend", action="append", default=[], metavar="HEAD:SETTING,…")
    tabulating.set_defaults(do=table)
    given = parser.parse_args(sys.argv[1:])
    torch.set_num_threads(1)
    given.do(given)
