"""The run whose fitted head fine-tuning starts from (linear probe, then fine-tune)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from mvsa_pipe.backbones import load_backbone
from mvsa_pipe.backbones.base import ImageBackbone, TextBackbone
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.errors import ConfigError, RunError, name_some
from mvsa_pipe.features.batch import FeatureSizes, reads_states
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.build import fill_head, parse_checkpoint
from mvsa_pipe.heads.own import add_recorded_head
from mvsa_pipe.layers import LayerMix, Layers
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import Split
from mvsa_pipe.posts.splits.split import TEST, VAL
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.backbones import backbone_options, is_tuned


@dataclass(frozen=True)
class Start:
    """A fitted run.

    Attributes:
        run: The run.

    Raises:
        RunError: It is not a run of one fitted head over backbones' last layers.
    """

    run: Run

    def __post_init__(self) -> None:
        if is_tuned(self.run):
            raise RunError(
                "This run was fine-tuned already",
                where=self.run.path,
                expected="a run of mvsa fit",
                hint="mvsa fit --head NAME, then --from that run",
            )
        mix = LayerMix(self.run.config.get("layer_mix", LayerMix.LAST))
        if "seeds" in self.run.config or mix is not LayerMix.LAST:
            raise RunError(
                "Fine-tuning starts from one head that reads backbones' last layers",
                where=self.run.path,
                expected="a run of mvsa fit without --ensemble and --layer-mix",
                found=f"an ensemble, {self.run.title}"
                if "seeds" in self.run.config
                else f"--layer-mix {mix}",
            )
        # fails early if the checkpoint is missing
        kind, _ = add_recorded_head(self.run.config, self.run.path)
        self.run.checkpoint(kind.file)

    @property
    def head(self) -> str:
        """The head's name."""
        return str(self.run.config["head"])

    @property
    def head_options(self) -> Mapping[str, Any]:
        """The head's options."""
        options: Mapping[str, Any] = self.run.config["head_options"]
        return options

    def require_head(self, name: str | None, options: Mapping[str, Any]) -> None:
        """Raises if another head is requested.

        Raises:
            ConfigError: The name differs, or options were set.
        """
        if name not in (None, self.head) or options:
            raise ConfigError(
                "--from cannot change the head",
                where=self.run.path,
                expected=f"--head {self.head} or none, and no --set",
                found=f"--head {name}" if name not in (None, self.head) else "--set",
            )

    def backbone(self, modality: Modality) -> tuple[BackboneOptions, TextBackbone | ImageBackbone]:
        """The backbone that the head was fitted on.

        Raises:
            BackboneError: Its weights cannot be loaded.
        """
        options = replace(backbone_options(self.run, modality), layers=Layers.LAST)
        return options, load_backbone(options)

    def require_backbone(self, modality: Modality, backbone: TextBackbone | ImageBackbone) -> None:
        """Raises if the head was not fitted on this backbone.

        Raises:
            RunError: Its weights, preprocessing or pooling differ.
        """
        backbone_options(self.run, modality)  # refuses joined ones
        record = self.run.config["caches"][modality.value]["fingerprint"]
        known, own = Fingerprint.from_json(record).renewed, backbone.identity
        pairs = {
            "weights": (known.weights, own.weights),
            "preprocessing": (known.preprocessing, own.preprocessing),
            "pooling": (known.pooling, own.pooling),
        }
        differing = [name for name, (then, now) in pairs.items() if then != now]
        if differing:
            raise RunError(
                f"This run's head was fitted on another {modality} backbone",
                where=self.run.path,
                expected=f"{known.backbone} as it was then",
                found=f"{own.name} of other {' and '.join(differing)}",
                hint="leave --text and --image out, or fit a head on that backbone first",
            )

    def require_split(self, split: Split, classes: tuple[str, ...]) -> None:
        """Refuses posts that the head has seen where it shall be scored.

        Raises:
            RunError: Posts of the parts that are scored were in other parts of the run, or the
                classes are others.
        """
        if list(classes) != self.run.config["data"]["classes"]:
            raise RunError(
                "These posts have other classes than the run was trained on",
                where=self.run.path,
                expected=", ".join(self.run.config["data"]["classes"]),
                found=", ".join(classes),
            )
        order = {name: place for place, name in enumerate(("train", VAL, TEST))}
        seen = {member.post_id: order[member.split] for member in self.run.members()}
        leaks = [i for i, part in split.parts.items() if seen.get(i, order[TEST]) < order[part]]
        if leaks:
            raise RunError(
                f"{len(leaks):,} validation or test posts were in the run's train or validation "
                "part",
                where=self.run.path,
                found=name_some(leaks),
                hint=f"use its split: --split {self.run.path / 'split.csv'}",
            )

    def fill(self, head: FusionHead, sizes: FeatureSizes) -> None:
        """Loads the fitted weights and feature means into a head.

        Raises:
            RunError: They have other sizes, or are not finite.
        """
        known = FeatureSizes.from_record(self.run.config["sizes"])
        if not reads_states(head.needs, Modality.IMAGE):  # caches may lack image tokens
            sizes = replace(sizes, image_tokens=known.image_tokens)
        if sizes != known:
            raise RunError(
                "This run's head was fitted to features of other sizes",
                where=self.run.path,
                expected=str(asdict(known)),
                found=str(asdict(sizes)),
                hint="use the run's --image-grid",
            )
        where = self.run.path / head.file
        fill_head(head, parse_checkpoint(self.run.checkpoint(head.file), where), where)
