"""Reads a data set in a zip archive without unpacking it."""

import re
import stat
import threading
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from mvsa_pipe.errors import DataError, name_some
from mvsa_pipe.file_stamps import file_stamp
from mvsa_pipe.posts.storage.base import (
    APPLE_FOLDER,
    APPLE_PREFIX,
    PICTURE_BYTES,
    Storage,
    TooLargeError,
)

# Tables are compressed to a tenth or so. Files that shrink more are a zip bomb, or small.
_MOST_PACKED, _SMALL_BYTES = 100, 2**26

# Python unpacks the others (bzip2, lzma) without a limit.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

# Old zip programs write names in the encoding of their system.
_NAME_ENCODINGS = ("gb18030", "big5", "cp932", "cp949", "cp1252", "cp866", "cp1251")
_UTF8_FLAG = 0x800
_LOCAL_HEADER_BYTES = 30


class ZipStorage(Storage):
    """Files in a zip archive, never unpacked.

    Raises:
        DataError: The archive is cut short, is not a zip, or has paths that leave it or clash.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._lock = threading.Lock()
        try:
            self._archive = zipfile.ZipFile(root)
            self._stamp = file_stamp(root)
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError) as error:
            raise DataError(
                "This zip archive cannot be read; it may be cut short",
                where=root,
                found=error,
                hint=f"download it again, or test it: unzip -t {root}",
            ) from error
        try:
            self._entries, self._spellings = _entries_of(root, self._archive.infolist())
        except DataError:
            self._archive.close()
            raise

    def names(self) -> Collection[str]:
        """Relative paths of all files in the archive."""
        return self._entries.keys()

    def spellings(self) -> Mapping[str, str]:
        """Names without a recorded encoding, decoded as on other systems."""
        return self._spellings

    def has(self, name: str) -> bool:
        """Whether the archive contains a file of that name."""
        return name in self._entries

    def size(self, name: str) -> int:
        """Uncompressed bytes of one file, according to the archive's directory."""
        return self._entry(name).file_size

    def _entry(self, name: str) -> zipfile.ZipInfo:
        try:
            return self._entries[name]
        except KeyError as error:
            raise DataError("The archive contains no such file", where=self.where(name)) from error

    def stamp(self, name: str) -> tuple[int, ...]:
        """The archive's stamp, and the file's position in it."""
        entry = self._entry(name)
        return (*self._stamp, entry.header_offset, entry.CRC, entry.file_size)

    def read(self, name: str, most: int = PICTURE_BYTES) -> bytes:
        """The bytes of one file, checked against the archive's CRC."""
        entry = self._entry(name)
        most = min(most, max(_SMALL_BYTES, _MOST_PACKED * entry.compress_size))
        if entry.file_size > most:
            raise TooLargeError(
                "A file in the archive is too large to be part of a data set",
                where=self.where(name),
                expected=f"at most {most:,} bytes",
                found=f"{entry.file_size:,} bytes, compressed to {entry.compress_size:,}",
                hint="do not trust this archive; pack the data set again",
            )
        if entry.compress_type not in _METHODS:
            raise DataError(
                "A file in the archive has a compression method that cannot be unpacked safely",
                where=self.where(name),
                expected="the method deflate, or none",
                found=f"method {entry.compress_type}",
                hint="pack the data set again: zip -r",
            )
        try:
            return self._read(entry)
        except (
            zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError,
            RuntimeError,  # an encrypted entry
            NotImplementedError,  # a compression method that Python lacks
        ) as error:  # fmt: skip
            raise DataError(
                "A file in the archive cannot be read",
                where=self.where(name),
                found=error,
                hint=f"try: unzip -t {self.root}",
            ) from error

    def _read(self, entry: zipfile.ZipInfo) -> bytes:
        # Opening and closing count the archive's users without a lock; unpacking, the slow part,
        # runs in parallel.
        with self._lock:
            stream = self._archive.open(entry)
        try:
            # Always with a size: otherwise Python would unpack everything before it checks the
            # size.
            return stream.read(entry.file_size + 1)
        finally:
            with self._lock:
                stream.close()


def _entries_of(
    root: Path, listed: list[zipfile.ZipInfo]
) -> tuple[dict[str, zipfile.ZipInfo], dict[str, str]]:
    """Files of an archive by name, and other spellings of the names.

    Raises:
        DataError: Paths leave the archive or clash, or entries overlap.
    """
    entries: dict[str, zipfile.ZipInfo] = {}
    spellings: dict[str, str] = {}
    twice: list[str] = []
    for entry in listed:
        names = _names_of(entry)
        name = names[0]
        if name.endswith("/") or stat.S_ISLNK(entry.external_attr >> 16):
            continue
        folders, _, file = name.rpartition("/")
        if file.startswith(APPLE_PREFIX) or APPLE_FOLDER in folders.split("/"):
            continue
        if name.startswith("/") or ".." in name.split("/") or re.match(r"[a-zA-Z]:", name):
            raise DataError(
                "This zip archive contains a path that leads out of it",
                where=root,
                expected="relative paths without '..'",
                found=repr(entry.filename),
                hint="do not trust this archive; pack the data set again",
            )
        if entries.setdefault(name, entry) is not entry:
            twice.append(name)
        for other in names[1:]:
            spellings.setdefault(other, name)
    if twice:
        raise DataError(
            f"This zip archive contains {len(twice):,} paths twice",
            where=root,
            found=name_some(twice),
            hint="pack the data set again",
        )
    _refuse_overlaps(root, entries)
    return entries, spellings


def _names_of(entry: zipfile.ZipInfo) -> list[str]:
    """The name of a file with ``/`` between folders, and other decodings of its bytes.

    Programs on Windows write backslashes, and many write UTF-8 without marking it.
    """
    names = [entry.filename]
    if not entry.filename.isascii() and not entry.flag_bits & _UTF8_FLAG:
        try:
            raw = entry.orig_filename.encode("cp437")
        except UnicodeEncodeError:
            raw = b""
        names = [*_decoded(raw, ("utf-8",)), *names, *_decoded(raw, _NAME_ENCODINGS)]
    return [_slashes(name) for name in dict.fromkeys(names)]


def _slashes(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")


def _decoded(raw: bytes, encodings: tuple[str, ...]) -> Iterator[str]:
    for encoding in encodings:
        try:
            yield raw.decode(encoding)
        except UnicodeDecodeError:
            continue


def _refuse_overlaps(root: Path, entries: Mapping[str, zipfile.ZipInfo]) -> None:
    """Raises if entries share compressed bytes, as in a zip bomb."""
    end, last = 0, ""
    for name, entry in sorted(entries.items(), key=lambda item: item[1].header_offset):
        if entry.header_offset < end:
            raise DataError(
                "Entries of this zip archive overlap",
                where=root,
                found=f"{last!r} and {name!r}",
                hint="do not trust this archive; pack the data set again",
            )
        end, last = entry.header_offset + _LOCAL_HEADER_BYTES + entry.compress_size, name
