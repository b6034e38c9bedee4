"""``mvsa cache``: lists, verifies, repairs, merges, exports and removes caches."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from mvsa_pipe.cache import ExportFormat
from mvsa_pipe.cli.console import line, out, show_json, size
from mvsa_pipe.cli.expand import Verb, expand
from mvsa_pipe.cli.screen import progress
from mvsa_pipe.cli.tables import add_numbers, titled
from mvsa_pipe.errors import CacheError, name_some
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.posts.formats import ReadOptions
from mvsa_pipe.printable import one_line
from mvsa_pipe.progress import BYTES, Progress
from mvsa_pipe.runs.options import CacheChoice, PostsChoice

if TYPE_CHECKING:
    from mvsa_pipe.cache.folder import CacheEntry, CacheFolder
    from mvsa_pipe.cache.reading import FeatureFile

app = typer.Typer(
    help="List, verify, repair, merge and export caches.",
    no_args_is_help=True,
    add_completion=False,
)

Folder = Annotated[Path, typer.Option("--cache", help="The folder of all caches.")]
Json = Annotated[bool, typer.Option("--json", help="Print the record as JSON.")]
Name = Annotated[str, typer.Argument(help="A cache file, or a unique part of its path.")]

_FOLDER = CacheChoice.folder
_DATA = PostsChoice.path


@app.command("list", cls=Verb)
@expand
def list_caches(folder: Folder = _FOLDER, json: Json = False) -> None:
    """List all caches, one line each."""
    from mvsa_pipe.cache.folder import CacheFolder

    caches = CacheFolder(folder)
    entries = caches.entries()
    if json:
        show_json([_entry_record(entry) for entry in entries])
        return
    for left in caches.left_behind():
        line(
            (f"{left}: ", "yellow"),
            f"{size(left.stat().st_size)}, left by a repair or a killed process; next: "
            f"mvsa cache remove {left}",
        )
    if not entries:
        line(f"nothing is cached in {folder}; next: mvsa extract --data PATH --backbone NAME")
        return
    table = titled("")
    table.add_column("cache", overflow="fold")  # a truncated path could not be copied
    add_numbers(table, "posts", "bytes")
    for heading in ("written (UTC)", "state"):
        table.add_column(heading)
    for entry in entries:
        header = entry.file.header if entry.file else None
        table.add_row(
            str(entry.path.relative_to(folder)),
            f"{len(header.ids):,}" if header else "",
            size(entry.bytes_on_disk),
            str(header.notes.get("written", ""))[:16].replace("T", " ") if header else "",
            entry.fault or "ready",
        )
    out.print(table)


def _entry_record(entry: "CacheEntry") -> dict[str, Any]:
    record = {"path": str(entry.path), "bytes": entry.bytes_on_disk, "parts": entry.parts}
    if entry.file is None:
        return record | {"fault": entry.fault}
    return record | _record(entry.file)


def _record(file: "FeatureFile") -> dict[str, Any]:
    header = file.header
    return {
        "path": str(file.path),
        "dataset": header.dataset,
        "posts": len(header.ids),
        "width": header.width,
        "keep": header.fingerprint.keep.value,
        "hidden_shape": header.hidden_shape,
        "payload_bytes": header.payload_bytes,
        "digest": header.fingerprint.digest,
        "fingerprint": asdict(header.fingerprint),
        "notes": header.notes,
    }


@app.command(cls=Verb)
@expand
def info(name: Name, folder: Folder = _FOLDER, json: Json = False) -> None:
    """Show a cache's fingerprint, shapes, sizes and origin."""
    from mvsa_pipe.cache.folder import CacheFolder
    from mvsa_pipe.cache.reading import FeatureFile

    file = FeatureFile(CacheFolder(folder).locate(name))
    record = _record(file)
    if json:
        show_json(record)
        return
    notes, fingerprint = record.pop("notes"), record.pop("fingerprint")
    table = titled("", "field", "value")
    table.show_header = False
    for section in (record, fingerprint, notes):
        for key, value in section.items():
            table.add_row(key.replace("_", " "), Text(_plain(value)))
        table.add_section()
    out.print(table)


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{one_line(str(k))}: {_plain(v)}" for k, v in value.items()) or "none"
    if value is None:
        return "not named"
    if isinstance(value, list | tuple):
        return " × ".join(map(_plain, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int):
        return f"{value:,}"
    text = one_line(str(value))
    return text if text and text == text.strip() else repr(text)  # a prompt may end in a space


@app.command(cls=Verb)
@expand
def verify(
    name: Annotated[str | None, typer.Argument(help="One cache; by default all.")] = None,
    folder: Folder = _FOLDER,
    json: Json = False,
) -> None:
    """Check every byte against its checksum; names posts with changed bytes and exits with 1."""
    from mvsa_pipe.cache import checking
    from mvsa_pipe.cache.folder import CacheFolder

    caches = CacheFolder(folder)
    if name is not None:
        known = {caches.locate(name): ""}
    else:
        known = {e.path: "" if e.file is not None else e.fault or "" for e in caches.entries()}
    faults: dict[str, list[str]] = {}
    with progress() as screen:
        to_read = sum(checking.bytes_on_disk(path) for path, fault in known.items() if not fault)
        screen.start("verify", to_read, BYTES)
        for path, fault in known.items():
            screen.note(path.name)
            faults[str(path)] = [fault] if fault else _faults(path, screen)
    if json:
        show_json(faults)
    else:
        for path_name, found in faults.items():
            state = (name_some(found), "red") if found else ("whole", "green")
            line(f"{path_name}: ", state)
            if found and "mvsa cache" not in found[0]:
                line(f"next: mvsa cache repair {path_name}")
        if not faults:
            line(f"nothing is cached in {folder}")
    if any(faults.values()):
        raise typer.Exit(1)


def _faults(path: Path, screen: Progress) -> list[str]:
    from mvsa_pipe.cache import checking

    try:
        return checking.faults(path, screen.advance)
    except CacheError as error:  # the other caches are still checked
        return [error.paragraph()]


@app.command(cls=Verb)
@expand
def repair(
    name: Name,
    data: Annotated[Path, typer.Option(help="The posts of the cache.")] = _DATA,
    device: Annotated[str, typer.Option(help="Where to compute.")] = ExtractOptions.device,
    folder: Folder = _FOLDER,
    read: ReadOptions = ReadOptions(),  # noqa: B008  # frozen
) -> None:
    """Extract posts again whose features have changed on disk.

    An unreadable file or part is renamed to .damaged and extracted again.
    """
    from mvsa_pipe.cache.folder import CacheFolder
    from mvsa_pipe.extraction.repair import repair as repair_cache
    from mvsa_pipe.posts import read_posts

    caches = CacheFolder(folder)
    path = caches.locate(name)
    posts = read_posts(data, replace(read, require_labels=False))
    with progress() as screen:
        damaged = repair_cache(path, posts, caches, device, screen)
    if damaged:
        line(f"{path}: extracted again: {name_some(damaged)}")
    else:
        line(f"{path}: ", ("whole", "green"))


@app.command(cls=Verb)
@expand
def merge(
    names: Annotated[
        list[str],
        typer.Argument(help="Caches to merge, or one cache whose shards are merged."),
    ],
    data: Annotated[
        Path | None, typer.Option(help="The posts: sets the order and reports missing posts.")
    ] = None,
    folder: Folder = _FOLDER,
    read: ReadOptions = ReadOptions(),  # noqa: B008  # frozen
) -> None:
    """Merge caches that were extracted separately, such as the shards of one."""
    from mvsa_pipe.cache.folder import CacheFolder
    from mvsa_pipe.cache.merge import merge as merge_caches
    from mvsa_pipe.cache.reading import FeatureFile
    from mvsa_pipe.posts import read_posts

    caches = CacheFolder(folder)
    sources = [FeatureFile(path) for path in _sources(caches, names)]
    posts = read_posts(data, replace(read, require_labels=False)).posts if data else ()
    with progress() as screen:
        file = merge_caches(caches, sources, [post.id for post in posts], progress=screen)
    line(f"{file.path}: {len(file.header.ids):,} posts of {len(sources)} caches")
    known = {*file.header.ids, *file.header.refused}
    missing = [post.id for post in posts if post.id not in known]
    if missing:
        line(f"{len(missing):,} posts are in none of them: {name_some(missing)}")
        raise typer.Exit(1)


def _sources(caches: "CacheFolder", names: list[str]) -> list[Path]:
    if len(names) > 1:
        return [caches.locate(name) for name in names]
    shards = caches.shards_named(names[0])
    if not shards:
        raise CacheError(
            f"There are no shards of {names[0]!r} to merge",
            where=caches.root,
            expected="two caches or more, or one that was extracted with --shard i/n",
            hint="mvsa cache list",
        )
    _require_all_shards(shards)
    return shards


def _require_all_shards(shards: list[Path]) -> None:
    """Raises if shards, named ``….i-of-n.h5``, are missing or of another ``n``."""
    names = [path.stem.rpartition(".")[2] for path in shards]
    counts = {name.partition("-of-")[2] for name in names}
    count = int(max(counts, key=int))
    missing = [n for i in range(1, count + 1) if (n := f"{i}-of-{count}") not in names]
    if missing or len(counts) > 1:
        raise CacheError(
            "These are not all shards of one extraction",
            where=shards[0].parent,
            expected=f"{count} shards, 1-of-{count} to {count}-of-{count}",
            found=", ".join(names),
            hint="finish the missing shards (--shard i/n), remove those of another n, or list the "
            "caches to merge",
        )


@app.command(cls=Verb)
@expand
def export(
    name: Name,
    to: Annotated[Path, typer.Option(help="The file to write; for npy a folder.")],
    form: Annotated[ExportFormat, typer.Option("--as", help="The format.")] = ExportFormat.NPY,
    folder: Folder = _FOLDER,
) -> None:
    """Write a cache's features for other tools: npy, safetensors or parquet."""
    from mvsa_pipe.cache.export import export as export_cache  # imports pyarrow
    from mvsa_pipe.cache.folder import CacheFolder
    from mvsa_pipe.cache.reading import FeatureFile

    file = FeatureFile(CacheFolder(folder).locate(name))
    with progress() as screen:
        export_cache(file, to, form, screen)
    line(f"{len(file.header.ids):,} posts in {to}")


@app.command(cls=Verb)
@expand
def remove(
    name: Name,
    folder: Folder = _FOLDER,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete one cache."""
    from mvsa_pipe.cache.folder import CacheFolder

    caches = CacheFolder(folder)
    path = caches.locate(name)
    if not yes:
        typer.confirm(f"delete {one_line(str(path))}?", abort=True)
    caches.remove(path)
    line(f"removed {path}")
