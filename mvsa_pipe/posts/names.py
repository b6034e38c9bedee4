"""Names of data sets: safe as the name of a folder, and as a part of a protocol tag."""

import re

from mvsa_pipe.durable import MOST_NAME_BYTES, name_fault
from mvsa_pipe.errors import ConfigError

_NAME = re.compile(r"\w+(?:[-.]\w+)*")


def checked_name(name: str, where: object) -> str:
    """A data set's name, safe as a folder's name and as a part of a protocol tag.

    Raises:
        ConfigError: It has other characters than letters, digits, and single ``-``, ``_`` or ``.``,
            or is too long.
    """
    if name_fault(name) or not _NAME.fullmatch(name):
        raise ConfigError(
            "A data set's name cannot be used",
            where=where,
            expected=f"letters and digits joined by '-', '_' or '.', {MOST_NAME_BYTES} bytes at "
            "most",
            found=repr(name[:80]),
        )
    return name
