"""Which caches an experiment reads."""

from collections.abc import Iterable, Mapping, Sequence

from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.errors import ConfigError, name_some
from mvsa_pipe.experiment.options import CacheChoice
from mvsa_pipe.features import Field
from mvsa_pipe.layers import LayerMix
from mvsa_pipe.modality import Modality


def chosen_files(
    caches: CacheChoice, dataset: str, needs: Iterable[Field]
) -> dict[Modality, tuple[FeatureFile, ...]]:
    """The caches of each modality that holds declared features.

    Raises:
        CacheError: There is no such cache, or it is damaged.
        ConfigError: The same cache is named twice.
    """
    folder, modalities = CacheFolder(caches.folder), {need.modality for need in needs}
    return {
        modality: _chosen(folder, dataset, modality, caches)
        for modality in Modality
        if modality in modalities
    }


def _chosen(
    folder: CacheFolder, dataset: str, modality: Modality, caches: CacheChoice
) -> tuple[FeatureFile, ...]:
    names = caches.names_of(modality)
    several = caches.layer_mix is not LayerMix.LAST
    files = tuple(folder.newest(dataset, modality, name, several_layers=several) for name in names)
    if len({file.path for file in files}) < len(files):
        raise ConfigError(
            f"--{modality} names the same cache twice",
            expected="different ones; NAME@DIGITS tells two of one backbone apart",
            found=" + ".join(f"{n}: {f.path.name}" for n, f in zip(names, files, strict=True)),
            hint="mvsa cache list",
        )
    return files


def refuse_single_layers(files: Mapping[Modality, Sequence[FeatureFile]], mix: LayerMix) -> None:
    """Refuses a mixing of layers where every cache holds its last layer alone.

    Raises:
        ConfigError: It is so.
    """
    every = [file for of_it in files.values() for file in of_it]
    if mix is LayerMix.LAST or any(file.header.layers > 1 for file in every):
        return
    raise ConfigError(
        f"--layer-mix {mix} needs a cache of several layers",
        expected="one that was extracted with --layers last4 or --layers all",
        found=name_some(f"{file.path.name} with its last layer alone" for file in every),
        hint="mvsa extract --layers last4 --backbone NAME",
    )
