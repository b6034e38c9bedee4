"""The model card of an exported folder: what it is, how good it is, how it loads."""

from collections.abc import Mapping, Sequence
from typing import Any

from mvsa_pipe.metrics.options import DEFAULT_SCORES

_LOADING = """\
```python
from mvsa_pipe.export import load_exported

model = load_exported("this-folder")
model.predict({arguments})
model.predict_proba({arguments})  # [N, C], one column a class
```
"""


def model_card(config: Mapping[str, Any], backbones: Sequence[str]) -> str:
    """The card as Markdown, every figure of which stands in ``config.json`` too.

    Args:
        config: What the exported folder's ``config.json`` holds.
        backbones: Names of the backbones.
    """
    return "\n".join(
        [
            *_header(config, backbones),
            *_use(config),
            *_scores(config),
            *_making(config),
            *_onnx(config),
            *_limits(config),
            *_licences(backbones),
        ]
    )


def _header(config: Mapping[str, Any], backbones: Sequence[str]) -> list[str]:
    tuned = "fine-tuned" if config["fine_tuned"] else "frozen"
    return [
        "---",
        "library_name: mvsa-pipe",
        "tags: [sentiment-analysis, multimodal, text, image]",
        "---",
        "",
        f"# {config['head']} over {' and '.join(backbones)}",
        "",
        (
            f"Tells {', '.join(config['classes'])} posts apart, from their "
            f"{' and '.join(config['backbones'])}: the fusion head `{config['head']}` on {tuned} "
            "backbones, trained and written by mvsa-pipe "
            f"{config['exported_with']['mvsa-pipe']}. This folder needs no other file."
        ),
        "",
    ]


def _use(config: Mapping[str, Any]) -> list[str]:
    examples = {"text": 'texts=["What a day!"]', "image": 'images=["day.jpg"]'}
    arguments = ", ".join(examples[name] for name in config["backbones"])
    return ["## Use", "", _LOADING.replace("{arguments}", arguments)]


def _scores(config: Mapping[str, Any]) -> list[str]:
    run = config["run"]
    lines = [
        "## Scores",
        "",
        (
            f"Data set `{config['data']['name']}`, protocol `{run['protocol']}`. Scores under "
            "other protocols are not comparable. Intervals are 95 % bootstrap intervals over posts."
        ),
        "",
        f"| part | posts | {' | '.join(score.row.title for score in DEFAULT_SCORES)} |",
        f"|---|---|{'---|' * len(DEFAULT_SCORES)}",
    ]
    for part, scores in (run["scores"] or {}).items():
        title = "test" if part == "test" else "val (its epoch was selected on it: optimistic)"
        cells = [_with_interval(scores, key) for key in DEFAULT_SCORES]
        lines.append(f"| {title} | {scores['posts']} | {' | '.join(cells)} |")
        for row in (run["references"] or {}).get(part, ()):
            cells = [_with_deviation(row, key) for key in DEFAULT_SCORES]
            lines.append(f"| {row['name']} on {part} | | {' | '.join(cells)} |")
    return [*lines, ""]


def _with_interval(scores: Mapping[str, Any], key: str) -> str:
    low, high = scores["intervals"][key]
    return f"{100 * scores['values'][key]:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def _with_deviation(row: Mapping[str, Any], key: str) -> str:
    deviation = row["deviations"][key]
    return f"{100 * row['values'][key]:.1f} %" + (f" ± {100 * deviation:.1f}" if deviation else "")


def _seeds(config: Mapping[str, Any]) -> str:
    """The seed, or those of an ensemble's members."""
    if "seeds" not in config:
        return f"seed {config['run']['seed']}"
    seeds = ", ".join(map(str, config["seeds"]))
    return f"an ensemble of seeds {seeds}, whose probabilities are averaged"


def _making(config: Mapping[str, Any]) -> list[str]:
    run, training = config["run"], config["training"]
    posts = ", ".join(f"{count} {part}" for part, count in (run["posts"] or {}).items())
    lines = [
        "## How it was made",
        "",
        f"- Posts: {posts}; split `{config['data']['split']}`, seed {config['data']['split_seed']}",
        f"- Selected by {run['selected_by']}; {_seeds(config)}",
        f"- Training: {_pairs(training)}",
    ]
    if config["image_grid"]:
        lines.append(f"- Image tokens are averaged to {config['image_grid']} rows and columns")
    for name, part in config["backbones"].items():
        lines += [
            (
                f"- {name.capitalize()} backbone `{part['name']}`, {part['width']} wide, weights "
                f"{part['weights']}, computed in {part['precision']} and kept in {part['dtype']}"
            ),
            f"  - preprocessing: {_pairs(part['preprocessing'])}",
        ]
    return [*lines, ""]


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _onnx(config: Mapping[str, Any]) -> list[str]:
    if not config["onnx"]:
        return []
    lines = ["## ONNX", ""]
    if not all(file["fault"] for file in config["onnx"]):
        lines += [
            (
                "Outputs are `probabilities`, in float32 without the rounding of cached features; "
                "batch and text length are free. Token ids and pixels are what this folder's "
                "tokenizer and preprocessing give."
            ),
            "",
        ]
    for file in config["onnx"]:
        if file["fault"]:
            lines.append(f"- `{file['name']}` could not be written: {file['fault']}")
            continue
        inputs = "; ".join(f"`{name}` {kind}" for name, kind in file["inputs"].items())
        lines.append(
            f"- `{file['name']}`: {inputs}; at most {file['largest_difference']:.1g} from torch"
        )
    return [*lines, ""]


def _limits(config: Mapping[str, Any]) -> list[str]:
    lines = [
        "## Limits",
        "",
        (
            "- Labels of such data sets are opinions of few annotators, and posts are of their "
            "time and language; what it says of other posts is unknown. It was made to compare "
            "methods, not to judge people."
        ),
    ]
    if not config["batch_independent"]:
        lines.append(
            "- A post's prediction depends on the other posts of its batch, as this head was "
            "published."
        )
    return [*lines, ""]


def _licences(backbones: Sequence[str]) -> list[str]:
    return [
        "## Licences",
        "",
        (
            "mvsa-pipe is licensed under Apache-2.0. This folder holds weights of "
            f"{', '.join(f'`{name}`' for name in backbones)}, and a head trained on the data set "
            "above: both have their own licences, which apply when you redistribute this folder."
        ),
        "",
    ]
