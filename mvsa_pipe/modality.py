"""The two halves of a post, named once."""

from enum import StrEnum


class Modality(StrEnum):
    """Text or image."""

    TEXT = "text"
    IMAGE = "image"

    @property
    def partner(self) -> "Modality":
        """The other half."""
        return Modality.IMAGE if self is Modality.TEXT else Modality.TEXT
