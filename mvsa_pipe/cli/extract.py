"""``mvsa extract``: stage one."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mvsa_pipe.backbones import parse_backbone
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cli.console import line, show_json, size
from mvsa_pipe.cli.expand import expand
from mvsa_pipe.cli.screen import progress
from mvsa_pipe.durable import write_json
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.extraction.backbone_choice import ExtractChoice
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs.options import PostsChoice

if TYPE_CHECKING:
    from mvsa_pipe.extraction.result import Extraction
    from mvsa_pipe.posts import PostSet


@expand
def extract(
    choice: ExtractChoice,
    data: PostsChoice,
    options: ExtractOptions,
    run: Annotated[
        Path | None,
        typer.Option("--from", help="Use the backbones of this run. Includes tuned weights."),
    ] = None,
    profile: Annotated[
        Path | None, typer.Option(help="Write timings to this JSON file.", hidden=True)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the records as JSON.")] = False,
) -> None:
    """Run frozen backbones over all posts once and cache their features.

    Only posts that are new or changed are computed; the same command resumes an interrupted
    extraction.
    """
    if (run is None) == (not choice.backbones):
        raise ConfigError(
            "No backbone was named" if run is None else "Both --backbone and --from were given",
            expected="either --backbone NAME, or --from RUN",
            hint="mvsa backbones lists them",
        )
    from mvsa_pipe.extraction.extract import extract_all
    from mvsa_pipe.posts import read_posts

    own = [] if run is None else _backbones_of(run)
    posts = read_posts(data.path, replace(data.read, require_labels=False))
    with progress() as screen:
        backbones = own or _named(choice, posts, options.cache, screen)
        done = extract_all(posts, backbones, options, screen)
    if profile is not None:
        write_json(profile, {d.file.header.fingerprint.backbone: d.profile for d in done})
    if json:
        show_json([extraction.as_record() for extraction in done])
        return
    for extraction in done:
        _show(extraction)


def _backbones_of(run: Path) -> list[BackboneOptions]:
    from mvsa_pipe.runs import open_run
    from mvsa_pipe.runs.backbones import every_backbone  # imports torch

    return every_backbone(open_run(run))


def _named(
    choice: ExtractChoice, posts: "PostSet", cache: Path, screen: Progress
) -> list[BackboneOptions]:
    partner = choice.partner_for(posts, cache)
    if partner is None:
        return choice.options_for(choice.backbones)
    modality = parse_backbone(partner)[0]
    screen.say(
        f"{partner} is extracted too, as no {modality} backbone was named and heads read both "
        "(--partner none leaves it out)"
    )
    return choice.options_for((*choice.backbones, partner))


def _show(done: "Extraction") -> None:
    header = done.file.header
    skipped = (f", {len(done.skipped):,} skipped", "yellow") if done.skipped else ""
    line(
        (header.fingerprint.backbone, "bold"),
        f": {done.extracted:,} extracted, {done.reused:,} already cached",
        skipped,
        f", {size(header.payload_bytes)} in {done.file.path} ({done.seconds:.1f} s)",
    )
    if header.notes.get("texts_cut"):
        line(
            f"  {header.notes['texts_cut']:,} texts were cut at --max-tokens, "
            f"{header.notes['tokens_cut']:,} tokens in all"
        )
