"""Loads experiments of fine-tuning: posts, split and backbones."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch

from mvsa_pipe.backbones.base import ImageBackbone, TextBackbone
from mvsa_pipe.backbones.decoding import choose_decoding
from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.devices import Precision, usable_cores
from mvsa_pipe.extraction.options import BadPostPolicy
from mvsa_pipe.features.batch import FeatureSizes, Field
from mvsa_pipe.features.options import grid_tokens
from mvsa_pipe.finetune.backbones import Loaded, load_chosen, named_backbone
from mvsa_pipe.finetune.initial_run import Start
from mvsa_pipe.finetune.inputs import ImageInputs, TextInputs
from mvsa_pipe.finetune.live_features import LiveFeatures
from mvsa_pipe.finetune.options import LiveChoice, TuningOptions
from mvsa_pipe.finetune.tunable_backbone import TunableBackbone
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import PostSet, protocol_tag
from mvsa_pipe.posts.contents import Content, UnreadablePostsError, contents_of
from mvsa_pipe.posts.splits.make_split import resolved_split
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs.options import DataChoice
from mvsa_pipe.runs.prepare import Experiment, read_and_split, training_data_of


@dataclass(frozen=True)
class LiveExperiment(Experiment):
    """Posts, split and backbones for fine-tuning.

    Attributes:
        tunables: The backbone of each modality.
        digests: Content digest of every post, for each modality, in the order of the features.
        fingerprints: Fingerprints of the tuned backbones' features; empty before training.
    """

    tunables: dict[Modality, TunableBackbone] = field(default_factory=dict)
    digests: dict[Modality, list[str]] = field(default_factory=dict)
    fingerprints: dict[Modality, Fingerprint] = field(default_factory=dict)

    @property
    def features(self) -> LiveFeatures:
        """Features computed by the backbones."""
        return cast("LiveFeatures", self.training_data.features)

    @property
    def backbones(self) -> dict[str, str]:
        """Name of each modality's backbone."""
        tuned = {m.value: f.backbone for m, f in self.fingerprints.items()}
        return tuned or {m.value: t.backbone.identity.name for m, t in self.tunables.items()}

    def contents(self) -> dict[Modality, dict[str, str]]:
        """Content digest of each modality of every post, by id."""
        ids = self.training_data.features.post_ids
        return {m: dict(zip(ids, digests, strict=True)) for m, digests in self.digests.items()}

    def feature_records(self) -> dict[str, Any]:
        """Fingerprint and backbone of each modality, for a run's record; there is no cache."""
        return {
            modality.value: {
                "path": None,
                "digest": fingerprint.digest,
                "fingerprint": fingerprint.to_json(),
                "backbone": self.tunables[modality].options.as_record(),
            }
            for modality, fingerprint in self.fingerprints.items()
        }

    def remarks(self) -> list[str]:
        """Lines printed before training: backbones, protocol, posts."""
        lines = []
        for modality, tunable in self.tunables.items():
            total = sum(p.numel() for p in tunable.network.parameters())
            trained = f"{tunable.parameters_trained:,} of {total:,} parameters trained"
            lines.append(f"{modality}: {tunable.backbone.identity.name}, {trained}")
        return lines + super().remarks()


def prepare_live(
    data: DataChoice,
    choice: LiveChoice,
    tuning: TuningOptions,
    needs: Iterable[Field],
    start: Start | None,
    device: torch.device,
    precision: Precision,
    seed: int,
    progress: Progress,
) -> LiveExperiment:
    """Reads and splits the posts, loads the backbones, and marks their trained parameters.

    Args:
        data: The posts and their split.
        choice: The backbones.
        tuning: How backbones are trained.
        needs: The features that the head reads.
        start: The run that training starts from; its backbones are used.
        device: The backbones' device.
        precision: Their arithmetic.
        seed: Seed of adapters and augmentation.
        progress: Receives messages.

    Raises:
        DataError: Posts cannot be read, and may not be skipped.
        SplitError: The split does not fit them.
        CacheError: No backbone is named, and no cache names one.
        BackboneError: Weights cannot be loaded.
        ConfigError: A backbone cannot be trained with these options, or pictures cannot be decoded
            fast.
    """
    wanted = set(needs)
    posts, split = read_and_split(data)
    data = replace(data, split=resolved_split(data.split, posts))
    modalities = [m for m in Modality if m in {need.modality for need in wanted}]
    loaded = {m: _loaded(m, choice, posts, start) for m in modalities}
    ids = [post.id for post in posts.posts if post.id in split.parts]
    contents, readers, faults = _contents(posts, choice, loaded, set(ids), progress)
    if faults and (choice.on_bad_post is BadPostPolicy.ERROR or len(faults) == len(ids)):
        raise UnreadablePostsError(faults, posts.storage.root)
    left_out = tuple(i for i in ids if i in faults)
    ids = [i for i in ids if i not in faults]
    chosen = {m: [items[i] for i in ids] for m, items in contents.items()}
    tunables: dict[Modality, TunableBackbone] = {}
    for modality, (options, backbone) in loaded.items():
        backbone.to(device)
        inputs: TextInputs | ImageInputs
        if isinstance(backbone, TextBackbone):
            inputs = TextInputs.read(backbone, chosen[modality])
        else:
            inputs = readers[modality].of(chosen[modality], seed)
        tunables[modality] = TunableBackbone(options, backbone, inputs, device, tuning)
    features = _features(posts, ids, tunables, choice, precision, tuning)
    for tunable in tunables.values():
        tunable.thaw(wanted, seed)
    training_data, indices = training_data_of(posts, split, features)
    return LiveExperiment(
        data=data,
        caches=choice.caches,
        posts=posts,
        split=split,
        protocol=protocol_tag(posts, split),
        files={},
        training_data=training_data,
        indices=indices,
        left_out=left_out,
        tunables=tunables,
        digests={m: [item.digest for item in items] for m, items in chosen.items()},
    )


def _loaded(modality: Modality, choice: LiveChoice, posts: PostSet, start: Start | None) -> Loaded:
    if start is not None and named_backbone(choice, modality) is None:
        return start.backbone(modality)
    return load_chosen(choice, posts, modality)


def _contents(
    posts: PostSet,
    choice: LiveChoice,
    loaded: dict[Modality, Loaded],
    wanted: set[str],
    progress: Progress,
) -> tuple[dict[Modality, dict[str, Content]], dict[Modality, ImageInputs], dict[str, str]]:
    """Content of every post, inputs of image backbones, and errors of unreadable posts."""
    contents: dict[Modality, dict[str, Content]] = {}
    readers: dict[Modality, ImageInputs] = {}
    faults: dict[str, str] = {}
    for modality, (_, backbone) in loaded.items():
        items, found = contents_of(posts, modality, choice.caches.folder)
        contents[modality] = {item.id: item for item in items if item.id in wanted}
        if isinstance(backbone, ImageBackbone):
            pictures = list(contents[modality].values())
            decoding = choose_decoding(choice.decode, [backbone], len(pictures), progress.say)
            reader = ImageInputs(backbone, pictures, 0, decoding)
            with ThreadPoolExecutor(usable_cores()) as pool:
                found |= reader.faults(pool)
            readers[modality] = reader
        faults |= {i: fault for i, fault in found.items() if i in wanted and i not in faults}
    return contents, readers, faults


def _features(
    posts: PostSet,
    ids: Sequence[str],
    tunables: dict[Modality, TunableBackbone],
    choice: LiveChoice,
    precision: Precision,
    tuning: TuningOptions,
) -> LiveFeatures:
    text, image = tunables.get(Modality.TEXT), tunables.get(Modality.IMAGE)
    grid = choice.caches.features.image_grid
    tokens = image.backbone.tokens if image and isinstance(image.backbone, ImageBackbone) else 1
    sizes = FeatureSizes(
        text_width=text.backbone.width if text else 1,
        image_width=image.backbone.width if image else 1,
        image_tokens=grid_tokens(tokens, grid) if image else 1,
        classes=len(posts.classes),
    )
    lengths = None
    if text is not None and isinstance(text.inputs, TextInputs):
        lengths = torch.tensor([len(row) for row in text.inputs.rows])
    at_a_time = tuning.micro_batch or LiveFeatures.at_a_time
    return LiveFeatures(
        post_ids=tuple(ids),
        sizes=sizes,
        token_counts=lengths,
        tunables=tunables,
        precision=precision,
        image_grid=grid,
        at_a_time=at_a_time,
    )
