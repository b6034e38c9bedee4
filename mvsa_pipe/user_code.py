"""Classes that users bring: found where they are named, and known by a digest of their source.

A class is named as ``my_heads.py:Mine`` or ``package.module:Mine``. Runs and caches record where it
came from. Code that a record names is run only if this user has named code of that digest before,
so that a folder from another person cannot run a file. The digests are kept in the user's state
folder, as Jupyter keeps those of trusted notebooks.
"""

import functools
import hashlib
import inspect
import os
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from mvsa_pipe.errors import ConfigError, MvsaError, RunError, name_some

_PACKAGE = __name__.partition(".")[0]
_SUFFIX = ".py"
# Of a source's digest, what messages show.
SHOWN_DIGITS = 12


@dataclass(frozen=True)
class Origin:
    """Where a class comes from that is not part of this package.

    Attributes:
        name: The class's name.
        file: The absolute path of its file, if it was named by a file.
        module: The module that it was imported from otherwise.
        sha256: Digest of the file, or of all source files of the module's package; empty if it has
            no source.
        distribution: The installed package that the module belongs to, if any.
        version: That package's version.
    """

    name: str
    file: str = ""
    module: str = ""
    sha256: str = ""
    distribution: str = ""
    version: str = ""

    @property
    def reference(self) -> str:
        """How users name the class."""
        return f"{self.file or self.module}:{self.name}"

    def __str__(self) -> str:
        version = f" of {self.distribution} {self.version}" if self.distribution else ""
        return f"{self.reference}{version} (source {self.sha256[:SHOWN_DIGITS] or 'unknown'})"

    def as_record(self) -> dict[str, str]:
        """Plain values for records; empty ones are left out."""
        return {key: value for key, value in asdict(self).items() if value}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Origin":
        """Reads what ``as_record`` returned.

        Raises:
            ValueError: It is something else.
        """
        known = cls.__dataclass_fields__.keys()
        if record.keys() - known or "name" not in record:
            raise ValueError(f"no record of a class: {name_some(sorted(record))}")
        if not all(isinstance(value, str) for value in record.values()):
            raise ValueError("no record of a class: a field is no text")
        return cls(**record)


class UnusableRecordError(RunError):
    """The class that a record names cannot be found, has changed, or was never named."""


@dataclass(frozen=True)
class _LoadedFile:
    path: Path
    sha256: str
    data: bytes


# Files by the names under which they are modules.
_files: dict[str, _LoadedFile] = {}
# Digests of what was named in this process.
_named: set[str] = set()


def is_reference(text: str) -> bool:
    """Whether a text names a class by its file or module, and not by a row of a table."""
    return ":" in text or text.endswith(_SUFFIX)


def load_reference(text: str) -> type:
    """The class that a user names; its source counts as known from then on.

    Args:
        text: ``my_heads.py:Mine`` or ``package.module:Mine``. Modules are found where Python finds
            them, and in the working directory.

    Raises:
        ConfigError: There is no such file, module or class, or importing it fails.
    """
    place, _, name = text.rpartition(":")
    if not place:
        found = _classes_of(_module_of(Origin("", file=str(Path(name).resolve()))))
        raise ConfigError(
            f"{text} names no class",
            expected=f"{text}:CLASS",
            found=f"classes {name_some(found)}" if found else "a file without classes",
        )
    if place.endswith(_SUFFIX) or os.sep in place:
        origin = Origin(name, file=str(Path(place).expanduser().resolve()))
    else:
        origin = Origin(name, module=place)
    kind = _class_of(_module_of(origin), origin)
    found_origin = origin_of(kind)
    if found_origin is not None:
        remember(found_origin)
    return kind


def load_recorded(
    origin: Origin, what: str, where: object, option: str, copy: Path | None = None
) -> tuple[type, str]:
    """The class that a record names, if this user has named its source before.

    Args:
        origin: The record.
        what: What the class is, for messages: "head 'mine'".
        where: The run or cache of the record.
        option: The option by which users name the class themselves: ``--head``.
        copy: A copy of its file, which is taken where the file is gone or has changed.

    Returns:
        The class, and a remark where the copy was taken; else "".

    Raises:
        UnusableRecordError: Its source is not there, has changed, or was never named by this user.
    """
    place, remark = origin.file or origin.module, ""
    hint = f"{option} FILE.py:{origin.name} names the class, if you trust its code"
    digest = _digest_of(origin)
    if copy is not None and digest != origin.sha256:
        kept = replace(origin, file=str(copy.resolve()))
        if _digest_of(kept) == origin.sha256:
            state = "is gone" if digest is None else "has changed"
            remark = f"{place} {state}: {what} is taken from {copy}, as it was"
            origin, digest = kept, origin.sha256
    if digest is None:
        raise UnusableRecordError(
            f"The class of {what} cannot be found",
            where=where,
            expected=str(origin),
            found=f"no {'file' if origin.file else 'module'} {place}"
            if origin.file or origin.module != "__main__"
            else "a class of a script or a notebook, which left no file",
            hint=hint,
        )
    if digest != origin.sha256:
        raise UnusableRecordError(
            f"The class of {what} has changed since",
            where=where,
            expected=str(origin),
            found=f"source {digest[:SHOWN_DIGITS]} in {place}",
            hint=f"{option} {origin.reference} takes it as it is now",
        )
    if not is_known(digest):
        raise UnusableRecordError(
            f"{what[0].upper()}{what[1:]} is code that you have not run before, and a record does "
            "not run code by itself",
            where=where,
            found=str(origin),
            hint=f"read it, then {option} {origin.reference}",
        )
    return _class_of(_module_of(origin), origin), remark


def load_same(origin: Origin) -> type:
    """The class that another process of this user has loaded.

    Raises:
        ConfigError: It cannot be found here, or has another source.
    """
    digest = _digest_of(origin)
    if digest != origin.sha256:
        raise ConfigError(
            "A class is not the same on this machine",
            expected=str(origin),
            found="no such file or module" if digest is None else f"source {digest[:SHOWN_DIGITS]}",
            hint="put its file where all machines see it",
        )
    return _class_of(_module_of(origin), origin)


@functools.cache
def origin_of(kind: type) -> Origin | None:
    """Where a class comes from, with its source as it was loaded; ``None`` for this package's."""
    module = kind.__module__
    if module.partition(".")[0] == _PACKAGE:
        return None
    if module in _files:
        loaded = _files[module]
        return Origin(kind.__qualname__, file=str(loaded.path), sha256=loaded.sha256)
    if module == "__main__":
        with suppress(OSError, TypeError):
            digest = hashlib.sha256(inspect.getsource(kind).encode()).hexdigest()
            return Origin(kind.__qualname__, module=module, sha256=digest)
        return Origin(kind.__qualname__, module=module)
    package, version = _distribution_of(module)
    return Origin(
        kind.__qualname__,
        module=module,
        sha256=_package_digest(module) or "",
        distribution=package,
        version=version,
    )


def is_same_place(one: type, other: type) -> bool:
    """Whether two classes are versions of one: of one name in one file, or in one module."""
    places = [
        (getattr(sys.modules.get(kind.__module__), "__file__", None) or kind.__module__)
        for kind in (one, other)
    ]
    return places[0] == places[1] and one.__qualname__ == other.__qualname__


def source_file(kind: type) -> bytes | None:
    """The content of the file that a class was named by, as it was run; ``None`` for others."""
    loaded = _files.get(kind.__module__)
    return None if loaded is None else loaded.data


def _module_of(origin: Origin) -> ModuleType:
    if not origin.file:
        return _imported(origin)
    path = Path(origin.file)
    try:
        data = path.read_bytes()
    except OSError as error:
        near = sorted(file.name for file in path.parent.glob(f"*{_SUFFIX}"))
        raise ConfigError(
            "There is no such file",
            where=path,
            found=f"in its folder: {name_some(near)}" if near else error.strerror,
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    name = f"_mvsa_{hashlib.sha256(f'{path}{digest}'.encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = str(path)
    # the same bytes that the digest is of; dataclasses look up their module by its name
    _files[name] = _LoadedFile(path, digest, data)
    sys.modules[name] = module
    try:
        exec(compile(data, str(path), "exec"), module.__dict__)  # noqa: S102  # the user named it
    except BaseException as error:
        del sys.modules[name], _files[name]
        if isinstance(error, MvsaError | KeyboardInterrupt):
            raise
        raise _not_imported(str(path), error) from error
    return module


def _imported(origin: Origin) -> ModuleType:
    _see_working_directory()
    try:
        return import_module(origin.module)
    except MvsaError:
        raise
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if origin.module == missing or origin.module.startswith(f"{missing}."):
            raise ConfigError(
                f"There is no module {missing!r}",
                where=origin.reference,
                expected="a module of an installed package, or one in this folder",
                hint=f"a file is named as FILE.py:{origin.name}",
            ) from error
        raise _not_imported(origin.module, error) from error
    except (Exception, SystemExit) as error:
        raise _not_imported(origin.module, error) from error


def _not_imported(place: str, error: BaseException) -> ConfigError:
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if place in frame.filename
    ]
    row = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else None
    hint = None
    if isinstance(error, ModuleNotFoundError):
        hint = (
            "a file is run by itself: install what it imports, or put both into a package and name "
            "package.module:CLASS"
        )
    if isinstance(error, SystemExit):
        hint = 'put what a script does below if __name__ == "__main__":'
    return ConfigError(
        "This code cannot be imported",
        where=place if row is None else f"{place}, line {row}",
        found=f"{type(error).__name__}: {error}",
        hint=hint,
    )


def _class_of(module: ModuleType, origin: Origin) -> type:
    found: object = module
    for part in origin.name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type):
        names = _classes_of(module)
        raise ConfigError(
            f"There is no class {origin.name!r}",
            where=origin.file or origin.module,
            expected=f"one of {name_some(names)}" if names else "a class",
            found=None if found is None else f"{origin.name} is a {type(found).__name__}",
        )
    return found


def _classes_of(module: ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__
    ]


def _see_working_directory() -> None:
    """Lets modules of the working directory be imported, after all others."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)


def _digest_of(origin: Origin) -> str | None:
    """The digest of a class's source as it is now, without running it; ``None`` without one."""
    if origin.file:
        try:
            return hashlib.sha256(Path(origin.file).read_bytes()).hexdigest()
        except OSError:
            return None
    return None if origin.module == "__main__" else _package_digest(origin.module)


def _package_digest(module: str) -> str | None:
    """Digest of all source files of the package that a module belongs to."""
    _see_working_directory()
    try:
        spec = find_spec(module.partition(".")[0])  # of a package itself: nothing is run
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    digest = hashlib.sha256()
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = [(file.relative_to(top), file) for top in folders for file in top.rglob(f"*{_SUFFIX}")]
    if not folders and spec.origin is not None and Path(spec.origin).is_file():
        files = [(Path(Path(spec.origin).name), Path(spec.origin))]
    if not files:
        return None
    for name, file in sorted(files):
        digest.update(
            f"{name.as_posix()}\0{hashlib.sha256(file.read_bytes()).hexdigest()}".encode()
        )
    return digest.hexdigest()


def _distribution_of(module: str) -> tuple[str, str]:
    names = metadata.packages_distributions().get(module.partition(".")[0], ())
    return (names[0], metadata.version(names[0])) if names else ("", "")


def remember(origin: Origin) -> None:
    """Notes that this user has named a source; where the disk refuses, for this process alone."""
    if not origin.sha256 or is_known(origin.sha256):
        return
    _named.add(origin.sha256)
    with suppress(OSError, RuntimeError):  # RuntimeError: there is no home folder
        path = _ledger()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="ascii") as file:
            file.write(f"{origin.sha256}\n")


def is_known(sha256: str) -> bool:
    """Whether this user has named a source of that digest."""
    if sha256 in _named:
        return True
    with suppress(OSError, RuntimeError, ValueError):
        return sha256 in _ledger().read_text(encoding="ascii").split()
    return False


def _ledger() -> Path:
    state = os.environ.get("XDG_STATE_HOME")
    folder = Path(state) if state else Path.home() / ".local" / "state"
    return folder / "mvsa-pipe" / "known-sources"
