"""The two modalities of a post."""

from enum import StrEnum


class Modality(StrEnum):
    """Text or image."""

    TEXT = "text"
    IMAGE = "image"

    @property
    def partner(self) -> "Modality":
        """The other modality."""
        return Modality.IMAGE if self is Modality.TEXT else Modality.TEXT
