"""The feature cache: features of frozen backbones on disk, never stale or incomplete.

One HDF5 file contains one data set × one backbone × one fingerprint; see ``cache/README.md`` for
the layout. This package imports neither torch nor backbones, apart from their options.
"""

from enum import StrEnum


class ExportFormat(StrEnum):
    """Formats that other tools read.

    ``npy`` is a folder with one file for each array, ``safetensors`` one file, ``parquet`` one
    table with one row for each post.
    """

    NPY = "npy"
    SAFETENSORS = "safetensors"
    PARQUET = "parquet"
