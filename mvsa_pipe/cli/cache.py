"""``mvsa cache``: what is cached, whether it is whole, and how to be rid of it."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from mvsa_pipe.cache.folder import CacheEntry, CacheFolder
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cli.console import line, out, show_json, size
from mvsa_pipe.cli.tables import add_numbers, titled
from mvsa_pipe.errors import name_some
from mvsa_pipe.experiment.options import CacheChoice

app = typer.Typer(help="List, inspect, verify and remove feature caches.", no_args_is_help=True)

Folder = Annotated[Path, typer.Option("--cache", help="The folder of all caches.")]
Json = Annotated[bool, typer.Option("--json", help="Print the record as JSON.")]
Name = Annotated[str, typer.Argument(help="A cache file, or a part of its path that is unique.")]

_FOLDER = CacheChoice.folder


@app.command("list")
def list_caches(folder: Folder = _FOLDER, json: Json = False) -> None:
    """List all caches, one line each."""
    entries = CacheFolder(folder).entries()
    if json:
        show_json([_entry_record(entry) for entry in entries])
        return
    if not entries:
        line(f"nothing is cached in {folder}; next: mvsa extract --data PATH --backbone NAME")
        return
    table = titled("")
    table.add_column("cache", overflow="fold")  # a path cut short could not be copied
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


def _entry_record(entry: CacheEntry) -> dict[str, Any]:
    record = {"path": str(entry.path), "bytes": entry.bytes_on_disk, "parts": entry.parts}
    if entry.file is None:
        return record | {"fault": entry.fault}
    return record | _record(entry.file)


def _record(file: FeatureFile) -> dict[str, Any]:
    header = file.header
    return {
        "path": str(file.path),
        "dataset": header.dataset,
        "posts": len(header.ids),
        "width": header.width,
        "hidden_shape": header.hidden_shape,
        "payload_bytes": header.payload_bytes,
        "digest": header.fingerprint.digest,
        "fingerprint": asdict(header.fingerprint),
        "notes": header.notes,
    }


@app.command()
def info(name: Name, folder: Folder = _FOLDER, json: Json = False) -> None:
    """Show a cache's fingerprint, shapes, bytes and where they came from."""
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
            table.add_row(key.replace("_", " "), _plain(value))
        table.add_section()
    out.print(table)


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{k}: {_plain(v)}" for k, v in value.items()) or "none"
    if value is None:
        return "not named"
    if isinstance(value, list | tuple):
        return " × ".join(map(_plain, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


@app.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="One cache; all of them unless named.")] = None,
    folder: Folder = _FOLDER,
    json: Json = False,
) -> None:
    """Check every byte against its checksum; exits 1 and names the posts where one was changed."""
    caches = CacheFolder(folder)
    if name is not None:
        faults = {str(path): _faults(path) for path in [caches.locate(name)]}
    else:
        faults = {
            str(entry.path): [entry.fault] if entry.file is None else _faults(entry.path)
            for entry in caches.entries()
            if entry.path.is_file()
        }
    if json:
        show_json(faults)
    else:
        for path, found in faults.items():
            state = (name_some(found), "red") if found else ("whole", "green")
            line(f"{path}: ", state)
        if not faults:
            line(f"nothing is cached in {folder}")
    if any(faults.values()):
        raise typer.Exit(1)


def _faults(path: Path) -> list[str]:
    return [f"post {post_id}" for post_id in FeatureFile(path).damaged_posts()]


@app.command()
def remove(
    name: Name,
    folder: Folder = _FOLDER,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete one cache."""
    caches = CacheFolder(folder)
    path = caches.locate(name)
    if not yes:
        typer.confirm(f"delete {path}?", abort=True)
    caches.remove(path)
    line(f"removed {path}")
