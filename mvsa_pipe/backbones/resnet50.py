"""resnet50: the image encoder of arXiv 2412.03625."""

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.backbones.torchvision import TorchvisionImage


class ResNet50(TorchvisionImage):
    """ResNet-50 (He et al. 2016): 7 × 7 cells of layer4, 2048 wide, and their average.

    Weights are ``IMAGENET1K_V1``, which the sources used, unless ``--weights`` names
    ``IMAGENET1K_V2`` or a file.
    """

    def _model_name(self, options: BackboneOptions) -> str:
        return "resnet50"
