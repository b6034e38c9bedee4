"""The families of backbones of this package, in listing order; imports no torch.

Widths, tokens and parameters are those of the published configurations; licences and gates are
those of the model cards.
"""

from mvsa_pipe.backbones.family import Family, Pooling, PublishedModel

_ROOM = "mvsa_pipe.backbones"
_HUB = "a Hugging Face id or a local folder"
_OF_TOKENS = (Pooling.CLS, Pooling.MEAN, Pooling.POOLER, Pooling.LAST)
_CARD = "see model card"

TEXT_FAMILIES = (
    Family(
        "bert",
        f"{_ROOM}.bert:Bert",
        "bert-base-uncased, 768 wide; --pooling cls, mean or pooler",
        "Devlin et al. 2019",
        from_folder=True,
        poolings=_OF_TOKENS,
        models=(PublishedModel("google-bert/bert-base-uncased", 768, 512, 109.5, "Apache-2.0"),),
    ),
    Family(
        "twitter-roberta",
        f"{_ROOM}.twitter_roberta:TwitterRoberta",
        "RoBERTa tuned on the sentiment of tweets, 768 wide; @user and http replace names, links",
        "Loureiro et al. 2022",
        from_folder=True,
        poolings=_OF_TOKENS,
        models=(
            PublishedModel(
                "cardiffnlp/twitter-roberta-base-sentiment-latest", 768, 512, 124.1, "CC-BY-4.0"
            ),
        ),
    ),
    Family(
        "clip-text",
        f"{_ROOM}.two_towers:ClipText",
        "CLIP's text tower; --pooling projected (shared space), pooler (before it) or mean",
        "Radford et al. 2021",
        from_folder=True,
        poolings=(Pooling.PROJECTED, Pooling.POOLER, Pooling.MEAN),
        models=(PublishedModel("openai/clip-vit-base-patch32", 512, 77, 63.4, _CARD),),
    ),
    Family(
        "siglip2-text",
        f"{_ROOM}.two_towers:SiglipText",
        "SigLIP 2's text tower, padded to its fixed length; --pooling projected, pooler or mean",
        "Tschannen et al. 2025",
        from_folder=True,
        poolings=(Pooling.PROJECTED, Pooling.POOLER, Pooling.MEAN),
        models=(PublishedModel("google/siglip2-base-patch16-224", 768, 64, 282.3, "Apache-2.0"),),
    ),
    Family(
        "open-clip-text",
        f"{_ROOM}.open_clip_towers:OpenClipText",
        "open-clip-text:<name>/<weights>: open_clip's text tower; --pooling as clip-text",
        "Ilharco et al. 2021",
        argument="a model of open_clip and its weights, such as ViT-B-32/laion2b_s34b_b79k",
        layered=False,
        poolings=(Pooling.PROJECTED, Pooling.POOLER, Pooling.MEAN),
        extra="open-clip",
        models=(
            PublishedModel(
                "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
                512,
                77,
                63.4,
                "MIT",
                name="open-clip-text:ViT-B-32/laion2b_s34b_b79k",
            ),
        ),
    ),
    Family(
        "sentence-transformers",
        f"{_ROOM}.sentence_transformer:SentenceTransformer",
        "sentence-transformers:<id or folder>: pooling, prompt and normalisation of modules.json",
        "Reimers and Gurevych 2019",
        argument=_HUB,
        from_folder=True,
        self_located=True,
        prompted=True,
        models=(
            PublishedModel(
                "sentence-transformers/all-MiniLM-L6-v2",
                384,
                256,
                22.7,
                "Apache-2.0",
                name="sentence-transformers:sentence-transformers/all-MiniLM-L6-v2",
            ),
            PublishedModel(
                "intfloat/multilingual-e5-base",
                768,
                512,
                278.0,
                "MIT",
                name="sentence-transformers:intfloat/multilingual-e5-base",
            ),
            PublishedModel(
                "BAAI/bge-base-en-v1.5",
                768,
                512,
                109.5,
                "MIT",
                name="sentence-transformers:BAAI/bge-base-en-v1.5",
            ),
            PublishedModel(
                "Qwen/Qwen3-Embedding-0.6B",
                1024,
                32768,
                595.8,
                "Apache-2.0",
                name="sentence-transformers:Qwen/Qwen3-Embedding-0.6B",
            ),
            PublishedModel(
                "google/embeddinggemma-300m",
                768,
                2048,
                307.6,
                "Gemma terms",
                True,
                "sentence-transformers:google/embeddinggemma-300m",
            ),
        ),
    ),
    Family(
        "hf-text",
        f"{_ROOM}.huggingface:HuggingFaceText",
        "hf-text:<id or folder>: any Hugging Face text encoder",
        argument=_HUB,
        from_folder=True,
        self_located=True,
        prompted=True,
        poolings=_OF_TOKENS,
        models=(
            PublishedModel(
                "answerdotai/ModernBERT-base",
                768,
                8192,
                149.0,
                "Apache-2.0",
                name="hf-text:answerdotai/ModernBERT-base",
            ),
        ),
    ),
    Family(
        "tiny-text",
        f"{_ROOM}.tiny:TinyText",
        "BERT architecture, 2 layers, 384 wide, weights drawn from a seed: for trials only",
        self_located=True,
        poolings=(Pooling.CLS, Pooling.MEAN),
    ),
)

IMAGE_FAMILIES = (
    Family(
        "resnet50",
        f"{_ROOM}.resnet50:ResNet50",
        "7×7 cells of layer4, 2048 wide, and their average; IMAGENET1K_V1 by default",
        "He et al. 2016",
        layered=False,
        models=(PublishedModel("torchvision IMAGENET1K_V1", 2048, 49, 23.5, _CARD),),
    ),
    Family(
        "dinov2",
        f"{_ROOM}.dinov2:DinoV2",
        "CLS and 16×16 patches, 768 wide; also dinov2:small, dinov2:large, dinov2:giant",
        "Oquab et al. 2023",
        models=(
            PublishedModel("facebook/dinov2-base", 768, 257, 86.6, "Apache-2.0"),
            PublishedModel(
                "facebook/dinov2-small", 384, 257, 22.1, "Apache-2.0", name="dinov2:small"
            ),
            PublishedModel(
                "facebook/dinov2-large", 1024, 257, 304.4, "Apache-2.0", name="dinov2:large"
            ),
            PublishedModel(
                "facebook/dinov2-giant", 1536, 257, 1136.5, "Apache-2.0", name="dinov2:giant"
            ),
        ),
    ),
    Family(
        "dinov3",
        f"{_ROOM}.dinov3:DinoV3",
        "CLS and 14×14 patches without registers, 768 wide; dinov3:<size, id, folder or timm name>",
        "Siméoni et al. 2025",
        from_folder=True,
        models=(
            PublishedModel(
                "facebook/dinov3-vitb16-pretrain-lvd1689m", 768, 197, 85.7, "DINOv3 License", True
            ),
        ),
    ),
    Family(
        "clip-image",
        f"{_ROOM}.two_towers:ClipImage",
        "CLIP's image tower; --pooling projected (shared space), pooler (before it) or mean",
        "Radford et al. 2021",
        from_folder=True,
        poolings=(Pooling.PROJECTED, Pooling.POOLER, Pooling.MEAN),
        models=(PublishedModel("openai/clip-vit-base-patch32", 768, 50, 87.8, _CARD),),
    ),
    Family(
        "siglip2-image",
        f"{_ROOM}.two_towers:SiglipImage",
        "SigLIP 2's image tower of fixed resolution; --pooling projected (shared space) or mean",
        "Tschannen et al. 2025",
        from_folder=True,
        poolings=(Pooling.PROJECTED, Pooling.MEAN),
        models=(PublishedModel("google/siglip2-base-patch16-224", 768, 196, 92.9, "Apache-2.0"),),
    ),
    Family(
        "hf-image",
        f"{_ROOM}.huggingface:HuggingFaceImage",
        "hf-image:<id or folder>: any Hugging Face image encoder",
        argument=_HUB,
        from_folder=True,
        self_located=True,
    ),
    Family(
        "torchvision",
        f"{_ROOM}.torchvision:TorchvisionImage",
        "torchvision:<name>: a torchvision classifier's last feature map",
        argument="the name of a torchvision model",
        layered=False,
    ),
    Family(
        "timm",
        f"{_ROOM}.timm_image:TimmImage",
        "timm:<name>: CLS and patches of a timm transformer, or a convolutional net's cells",
        "Wightman 2019",
        argument="the name of a timm model, such as vit_base_patch16_224.augreg_in21k",
        layered=False,
        extra="timm",
        models=(
            PublishedModel(
                "timm/vit_base_patch16_dinov3.lvd1689m",
                768,
                197,
                85.6,
                "DINOv3 License",
                name="timm:vit_base_patch16_dinov3.lvd1689m",
            ),
        ),
    ),
    Family(
        "open-clip-image",
        f"{_ROOM}.open_clip_towers:OpenClipImage",
        "open-clip-image:<name>/<weights>: open_clip's image tower; --pooling as clip-image",
        "Ilharco et al. 2021",
        argument="a model of open_clip and its weights, such as ViT-B-32/laion2b_s34b_b79k",
        layered=False,
        poolings=(Pooling.PROJECTED, Pooling.POOLER, Pooling.MEAN),
        extra="open-clip",
        models=(
            PublishedModel(
                "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
                768,
                50,
                87.8,
                "MIT",
                name="open-clip-image:ViT-B-32/laion2b_s34b_b79k",
            ),
        ),
    ),
    Family(
        "tiny-image",
        f"{_ROOM}.tiny:TinyImage",
        "ResNet architecture, 10 layers, weights drawn from a seed: for trials only",
        self_located=True,
        layered=False,
    ),
    Family(
        "tiny-patches",
        f"{_ROOM}.tiny:TinyPatches",
        "4×4 patches encoded one by one, weights drawn from a seed: for trials only",
        self_located=True,
        layered=False,
    ),
)
