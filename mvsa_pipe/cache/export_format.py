"""Export formats of caches; without the libraries that write them."""

from enum import StrEnum


class ExportFormat(StrEnum):
    """Formats that other tools read.

    ``npy`` is a folder with one file for each array, ``safetensors`` one file, ``parquet`` one
    table with one row for each post.
    """

    NPY = "npy"
    SAFETENSORS = "safetensors"
    PARQUET = "parquet"
