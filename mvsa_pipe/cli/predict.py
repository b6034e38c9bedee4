"""``mvsa predict``: predicts new posts with a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mvsa_pipe.backbones.options import Decode
from mvsa_pipe.cli.console import line, out, percent, remark, sentence, show_json
from mvsa_pipe.cli.expand import expand
from mvsa_pipe.cli.screen import progress
from mvsa_pipe.cli.tables import add_numbers, titled
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.posts.formats import ReadOptions
from mvsa_pipe.runs.options import InferenceOptions

if TYPE_CHECKING:
    from mvsa_pipe.runs.predict import PredictResult

# Longer tables are only written to files.
_MOST_SHOWN = 20


@expand
def predict(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    text: Annotated[str | None, typer.Option("--text", help="The text of one post.")] = None,
    image: Annotated[Path | None, typer.Option("--image", help="The picture of one post.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="A table or folder of posts.")] = None,
    output: Annotated[Path | None, typer.Option("--output", help="A CSV file to write.")] = None,
    cache: Annotated[
        Path, typer.Option("--cache", help="The folder of all caches.")
    ] = InferenceOptions.cache,
    device: Annotated[
        str, typer.Option("--device", help="auto, cpu, cuda or mps.")
    ] = InferenceOptions.device,
    decode: Annotated[
        Decode,
        typer.Option("--decode", help="How pictures become pixels, as of extract.", hidden=True),
    ] = InferenceOptions.decode,
    calibrated: Annotated[
        bool,
        typer.Option(
            "--calibrated",
            help="Give probabilities at the run's temperature, fitted on its validation posts.",
        ),
    ] = InferenceOptions.calibrated,
    read: ReadOptions = ReadOptions(),  # noqa: B008  # frozen
    json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Predict one post (--text and --image) or a table of posts (--data).

    Posts without the text or picture that the head reads are reported, and the exit code is 1; the
    others are predicted.
    """
    if (data is None) == (text is None and image is None):
        raise ConfigError(
            "Give either one post or a table of posts",
            expected="either --text and --image of one post, or --data with a table of posts",
            found="neither" if data is None else "both",
        )
    from mvsa_pipe.runs import open_run
    from mvsa_pipe.runs.predict import predict as predict_posts
    from mvsa_pipe.runs.predict import predict_one, read_posts_to_predict, write_results

    opened = open_run(run)
    options = InferenceOptions(cache=cache, device=device, decode=decode, calibrated=calibrated)
    with progress() as screen:
        if data is None:
            answer = predict_one(opened, text, image, options, screen)
        else:
            posts = read_posts_to_predict(data, read, opened)
            for note, count in posts.notes.items():
                screen.say(f"{count:,} {note}")
            answer = predict_posts(opened, posts, options, screen)
    if output is not None:
        write_results(output, answer)
    if json:
        show_json(answer.as_record())
    else:
        _show(answer, output)
    if answer.faults:
        raise typer.Exit(1)


def _show(answer: "PredictResult", output: Path | None) -> None:
    if output is not None:
        line(f"{len(answer.predictions):,} posts predicted: {output}")
    elif answer.predictions:
        table = titled("", "post", "prediction")
        add_numbers(table, *(f"{name} %" for name in answer.classes))
        for row in answer.predictions[:_MOST_SHOWN]:
            table.add_row(row.post_id, row.prediction, *map(percent, row.probabilities))
        out.print(table)
        if len(answer.predictions) > _MOST_SHOWN:
            line(f"… and {len(answer.predictions) - _MOST_SHOWN:,} more: see --output")
    for text in answer.remarks():
        sentence(text)
    for post_id, fault in list(answer.faults.items())[:_MOST_SHOWN]:
        remark((f"post {post_id}", "red"), f": {fault}")
    if len(answer.faults) > _MOST_SHOWN:
        remark(f"… and {len(answer.faults) - _MOST_SHOWN:,} more posts with errors")
