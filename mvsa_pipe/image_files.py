"""Reduces image files to the data of their pixels, and checks them before decoding.

Colour profiles, comments and thumbnails may be broken or oversized without affecting the pixels,
but Pillow reads them all on opening. The functions here rebuild a JPEG, PNG or WebP without them,
and bound the work of a decoder.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

# Encoders write up to some twenty scans; each makes a decoder visit the whole picture again.
MOST_SCANS = 100
# A picture of 64 MiB in PNG chunks of the customary 8 KiB has 8,192.
MOST_SEGMENTS = 50_000

# Warnings of libjpeg-turbo about lost pixels. Its other warnings are harmless.
_LOST_PIXELS = ("premature end", "bad huffman code", "bad arithmetic code", "found marker")

# A marker may be preceded by any number of fill bytes; within a scan, 0 is a stuffed byte, and
# restarts belong to it.
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD8)))
_SOI, _EOI, _SOS, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1
# JFIF and Adobe segments decide how channels are understood; the other APPn and COM do not.
_NO_PIXELS = frozenset((*range(0xE1, 0xEE), 0xEF, 0xFE))
_HUFFMAN_FRAMES = frozenset((0xC0, 0xC1, 0xC2))
_PROGRESSIVE_FRAMES = frozenset((0xC2, 0xCA))

# Any bytes except 0xFF and zero bits, with which libjpeg itself replaces missing data.
_MORE_DATA = bytes(range(0x91, 0xFD, 3)) * 4

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNKS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_INFLATED_BYTES = 2**18

_WEBP_METADATA = frozenset((b"ICCP", b"EXIF", b"XMP "))
_WEBP_PIXELS = frozenset((b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"))
# Bits of VP8X that announce an ICC profile, EXIF and XMP.
_WEBP_METADATA_BITS = 0x20 | 0x08 | 0x04


class LostPixelsError(ValueError):
    """The data of a picture end before its pixels do."""


class ExcessError(ValueError):
    """Decoding a file would take far more work than its picture needs."""


class ImageFile(NamedTuple):
    """A file that contains only the data of pixels.

    Attributes:
        data: Bytes that a decoder reads to the same pixels.
        exif: The EXIF block that was left out, which contains the orientation; may be empty.
    """

    data: bytes
    exif: bytes = b""


def pixels_only(data: bytes) -> ImageFile:
    """Rebuilds a JPEG, PNG or WebP from the parts of its first picture.

    Files that end within a segment or chunk are returned with the cut, and other formats unchanged,
    so that the decoder reports their errors.

    Raises:
        LostPixelsError: There are provably too few bytes for the pixels of the header.
        ExcessError: There are more scans or segments than any picture has.
    """
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data.startswith(_PNG_SIGNATURE):
        return _png(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    return ImageFile(data)


def is_read_whole(data: bytes) -> bool | None:
    """Checks that a JPEG or PNG has data for all pixels, which its decoders do not check.

    libjpeg fills in missing data with only a warning, which Pillow drops; missing rows of a PNG
    stay black. The decoders of the other formats report missing data.

    Args:
        data: A file as ``pixels_only`` rebuilds it, of a size that is safe to decode.

    Returns:
        ``True`` for a JPEG that libjpeg reads without a warning, ``False`` for one that must be
        compared with ``with_more_data``, and ``None`` for another format.

    Raises:
        LostPixelsError: The data end early or cannot be understood.
    """
    if data.startswith(b"\xff\xd8"):
        return _is_whole_jpeg(data)
    if data.startswith(_PNG_SIGNATURE):
        _require_rows(data)
    return None


def _is_whole_jpeg(data: bytes) -> bool:
    import simplejpeg  # libjpeg-turbo with its warnings; an eighth of the size is its fastest

    try:
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, min_factor=8)
    except ValueError as error:
        if any(sign in str(error).lower() for sign in _LOST_PIXELS):
            raise LostPixelsError(str(error)) from error
        # A harmless warning, which may hide another, or channels that it does not support.
        return False
    return True


def with_more_data(jpeg: bytes) -> bytes:
    """A JPEG with more bytes at the end of each scan: the same pixels, unless some are missing."""
    parts = [jpeg[:2]]
    for segment in _segments(jpeg):
        parts.append(jpeg[segment.start : segment.end])
        if segment.marker == _SOS:
            parts.append(_MORE_DATA)
    return b"".join((*parts, b"\xff\xd9"))


class _Frame(NamedTuple):
    """The header of a JPEG's picture: its marker, and the blocks of 8 x 8 by component."""

    marker: int
    blocks: dict[int, int]


class _Scans:
    """Coefficients in the scans of a JPEG so far."""

    def __init__(self) -> None:
        self.count = 0
        self.n_bytes = 0
        # Lowest bit of each coefficient so far, by component.
        self._bits: dict[int, list[int | None]] = {}

    def add(self, header: bytes, n_bytes: int) -> None:
        self.count += 1
        self.n_bytes += n_bytes
        if self.count > MOST_SCANS:
            raise ExcessError(f"a JPEG of more than {MOST_SCANS} scans")
        count = header[0] if header else 0
        if len(header) < 4 + 2 * count:
            return
        first, last, low = header[1 + 2 * count], header[2 + 2 * count], header[3 + 2 * count] & 15
        for component in header[1 : 1 + 2 * count : 2]:
            sent = self._bits.setdefault(component, [None] * 64)
            for coefficient in range(first, min(last, 63) + 1):
                sent[coefficient] = low

    def require_all(self, frame: _Frame) -> None:
        """Checks that every coefficient occurs, and that there are enough bytes for them."""
        n_blocks = sum(frame.blocks.values())
        # A block takes one bit for its first coefficient, and one more that marks the end; in
        # progressive pictures a later scan may mark the end of many blocks.
        progressive = frame.marker in _PROGRESSIVE_FRAMES
        least_bits = n_blocks if progressive else 2 * n_blocks
        if frame.marker in _HUFFMAN_FRAMES and self.n_bytes * 8 < least_bits:
            raise LostPixelsError(f"{self.n_bytes:,} bytes of data for {n_blocks:,} blocks")
        for component in frame.blocks:
            sent = self._bits.get(component)
            # Sequential pictures have one scan per component; the fields of progressive ones are
            # ignored.
            if sent is None or (progressive and any(low != 0 for low in sent)):
                raise LostPixelsError(f"scans that leave out a part of component {component}")


class _Segment(NamedTuple):
    """A part of a JPEG, from its marker to the next.

    Attributes:
        marker: Its kind; ``None`` for a remainder that cannot be parsed.
        start: Start of its marker.
        data: End of its header, where a scan's data begin.
        end: Start of the next part.
    """

    marker: int | None
    start: int
    data: int
    end: int


def _segments(data: bytes) -> Iterator[_Segment]:
    """The segments of a JPEG before its end marker, without bytes between them."""
    at = 2
    for _ in range(MOST_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None or data[found.start() + 1] == _EOI:
            return
        at = found.start()
        marker = data[at + 1]
        if marker in _WITHOUT_LENGTH:
            at += 2
            continue
        end = at + 4 if at + 4 > len(data) else at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        if marker == _SOI or end < at + 4 or end > len(data):
            yield _Segment(None, at, len(data), len(data))
            return
        stop = end
        if marker == _SOS:
            found = _END_OF_SCAN.search(data, end)
            stop = len(data) if found is None else found.start()
        yield _Segment(marker, at, end, stop)
        at = stop
    raise ExcessError(f"a JPEG of more than {MOST_SEGMENTS:,} segments")


def _jpeg(data: bytes) -> ImageFile:
    kept, exif = [data[:2]], b""
    frame: _Frame | None = None
    scans = _Scans()
    for marker, start, middle, end in _segments(data):
        if marker is None:  # cut: no end marker is added, so that the decoder reports it
            return ImageFile(b"".join((*kept, data[start:])), exif)
        payload = data[start + 4 : middle]
        if marker == _SOS:
            scans.add(payload, end - middle)
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = frame or _frame(marker, payload)
        elif marker == _APP1 and payload.startswith(b"Exif\0\0"):
            exif = exif or payload
        if marker not in _NO_PIXELS:
            kept.append(data[start:end])
    if frame is not None and scans.count:
        scans.require_all(frame)
    return ImageFile(b"".join((*kept, b"\xff\xd9")), exif)


def _frame(marker: int, payload: bytes) -> _Frame | None:
    """The size of each component; ``None`` for a header that the decoder refuses."""
    if len(payload) < 6 or len(payload) < 6 + 3 * payload[5]:
        return None
    height, width = struct.unpack_from(">HH", payload, 1)
    parts = [payload[at : at + 3] for at in range(6, 6 + 3 * payload[5], 3)]
    across, down = (max((part[1] >> s & 15 for part in parts), default=0) for s in (4, 0))
    if not height or not width or not across or not down:
        return None
    return _Frame(
        marker,
        {
            name: -(-width * (sampling >> 4) // (8 * across))
            * -(-height * (sampling & 15) // (8 * down))
            for name, sampling, _ in parts
        },
    )


def _png(data: bytes) -> ImageFile:
    kept, exif, at = [data[:8]], b"", 8
    for kind, chunk in _png_chunks(data):
        at += len(chunk)
        if kind in _PNG_CHUNKS or kind[:1].isupper():  # capital: a critical chunk
            kept.append(chunk)
        elif kind == b"eXIf":
            exif = exif or chunk[8:-4]
    if kept[-1] != _PNG_END:
        # The decoder reports a cut chunk of pixels; other cut chunks are not needed.
        cut = data[at + 4 : at + 8] in _PNG_CHUNKS - {b"IEND"}
        kept.append(data[at:] if cut else _PNG_END)
    return ImageFile(b"".join(kept), exif)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and bytes of each whole chunk up to the last one of the picture."""
    at, kind = 8, b""
    for _ in range(MOST_SEGMENTS):
        if kind == b"IEND" or at + 12 > len(data):
            return
        (length,) = struct.unpack_from(">I", data, at)
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if end > len(data):
            return
        yield kind, data[at:end]
        at = end
    raise ExcessError(f"a PNG of more than {MOST_SEGMENTS:,} chunks")


def _require_rows(data: bytes) -> None:
    head, pixels = b"", []
    for kind, chunk in _png_chunks(data):
        if kind == b"IHDR":
            head = head or chunk[8:-4]
        elif kind == b"IDAT":
            pixels.append(chunk[8:-4])
    if len(head) != 13 or not pixels:
        return
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", head)
    if interlaced or colour not in _PNG_CHANNELS:  # Pillow counts interlaced rows itself
        return
    missing = height * (1 + -(-width * depth * _PNG_CHANNELS[colour] // 8))
    try:
        for piece in _inflated(pixels):
            missing -= len(piece)
            if missing <= 0:
                return
    except zlib.error as error:
        raise LostPixelsError(str(error)) from error
    raise LostPixelsError(f"compressed rows that lack {missing:,} bytes")


def _inflated(pieces: list[bytes]) -> Iterator[bytes]:
    stream = zlib.decompressobj()
    for piece in pieces:
        waiting = piece
        while waiting and not stream.eof:
            yield stream.decompress(waiting, _INFLATED_BYTES)
            waiting = stream.unconsumed_tail
    yield stream.flush()  # the output of the last input bits


def _webp(data: bytes) -> ImageFile:
    kept: list[bytes] = []
    exif, at = b"", 12
    for _ in range(MOST_SEGMENTS):
        if at + 8 > len(data):
            break
        kind, (length,) = data[at : at + 4], struct.unpack_from("<I", data, at + 4)
        end = at + 8 + length + length % 2
        chunk = data[at:end]
        if kind == b"EXIF":
            exif = exif or chunk[8 : 8 + length]
        if kind == b"VP8X" and length:
            chunk = chunk[:8] + bytes([chunk[8] & ~_WEBP_METADATA_BITS]) + chunk[9:]
        if end == len(data) + 1:
            chunk += b"\0"  # the last padding byte, which some encoders omit
        first_frame = kind != b"ANMF" or not any(part.startswith(b"ANMF") for part in kept)
        if kind in _WEBP_PIXELS and first_frame:
            kept.append(chunk)
        at = end
    else:
        raise ExcessError(f"a WebP of more than {MOST_SEGMENTS:,} chunks")
    body = b"WEBP" + b"".join(kept)
    return ImageFile(b"RIFF" + struct.pack("<I", len(body)) + body, exif)
