"""Formats that caches are exported to; apart from the libraries that write them."""

from enum import StrEnum


class ExportFormat(StrEnum):
    """What other tools read.

    ``npy`` is a folder with one array a file, ``safetensors`` one file, ``parquet`` one table
    with a row a post.
    """

    NPY = "npy"
    SAFETENSORS = "safetensors"
    PARQUET = "parquet"
