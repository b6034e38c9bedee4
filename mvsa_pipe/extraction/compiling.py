"""A backbone's forward pass, compiled."""

from collections.abc import Callable

from mvsa_pipe.backbones.base import Encoded, ImageBackbone, TextBackbone
from mvsa_pipe.compiling import COMPILABLE, compiled
from mvsa_pipe.errors import BackboneError


def compiled_encode(backbone: TextBackbone | ImageBackbone) -> Callable[..., Encoded]:
    """A backbone's ``encode``, compiled when first called, for batches of any shape.

    What cannot be compiled raises ``BackboneError`` when it is called.
    """

    def fault(found: str) -> BackboneError:
        return BackboneError(
            "This backbone cannot be compiled here",
            where=backbone.identity.name,
            expected=COMPILABLE,
            found=found,
            hint="install one, or leave out --compile (what is cached with it needs it again)",
        )

    encode: Callable[..., Encoded] = compiled(backbone.encode, fault)
    return encode
