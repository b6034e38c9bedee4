"""resnet50: the image encoder of arXiv 2412.03625."""

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.backbones.torchvision import TorchvisionImage
from mvsa_pipe.errors import ConfigError


class ResNet50(TorchvisionImage):
    """ResNet-50 (He et al. 2016): 7 × 7 cells of layer4, 2048 wide, and their average.

    Weights are ``IMAGENET1K_V1``, which the sources used, unless ``--weights`` names
    ``IMAGENET1K_V2`` or a file.

    Raises:
        ConfigError: An argument was given; there is one ResNet-50.
        BackboneError: The weights cannot be loaded, or belong to another architecture.
    """

    def _model_name(self, options: BackboneOptions) -> str:
        if options.argument:
            raise ConfigError(
                "Backbone 'resnet50' takes no argument",
                found=options.name,
                hint="choose weights by --weights resnet50=IMAGENET1K_V2, another model by "
                "torchvision:<name>",
            )
        return "resnet50"
