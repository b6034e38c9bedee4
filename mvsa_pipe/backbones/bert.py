"""bert: bert-base-uncased, the text encoder of both source papers."""

from pathlib import Path

from transformers import BertConfig, PretrainedConfig

from mvsa_pipe.backbones.huggingface import HuggingFaceText
from mvsa_pipe.backbones.options import BackboneOptions, Pooling
from mvsa_pipe.backbones.pretrained import hugging_face_config
from mvsa_pipe.backbones.weights import WeightsSource


class Bert(HuggingFaceText):
    """BERT, 12 layers, 768 wide (Devlin et al. 2019).

    Hidden states are those of the last layer; the pooled vector is ``[CLS]``'s last hidden state
    (``cls``), the mean of the real tokens (``mean``), or BERT's own ``tanh`` pooler (``pooler``).
    """

    default_pooling = Pooling.CLS

    def _published(self, options: BackboneOptions) -> str:
        return options.argument or "google-bert/bert-base-uncased"

    def _config(self, source: WeightsSource, options: BackboneOptions) -> PretrainedConfig:
        if source.state_file is not None and not Path(source.model).is_dir():
            return BertConfig()  # its defaults are bert-base-uncased
        return hugging_face_config(source.model, options.name, "bert")
