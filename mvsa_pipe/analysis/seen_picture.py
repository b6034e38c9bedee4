"""The picture of a post as an image backbone sees it, which the patches of an overlay belong to."""

import base64
import io
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from PIL import Image

from mvsa_pipe.analysis.finding import Finding, OverlayPlot, Plot
from mvsa_pipe.analysis.finding_store import analysed_run
from mvsa_pipe.backbones import load_backbone
from mvsa_pipe.backbones.base import ImageBackbone
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.images import decode_image
from mvsa_pipe.modality import Modality
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.backbones import options_of, records_of
from mvsa_pipe.runs.own_posts import own_posts

# Data URIs by the digest of a run and the id of a post.
SeenPictures = dict[tuple[str, str], str]


def seen_picture(backbones: Sequence[object], picture: bytes, where: str = "picture") -> str:
    """The resized and cropped picture as a data URI.

    Empty if a head joins several image backbones, which see different parts of it.

    Args:
        backbones: The image backbones of a head.
        picture: The file's content.
        where: The file, for messages.

    Raises:
        DataError: It cannot be decoded.
    """
    if len(backbones) != 1 or not isinstance(backbones[0], ImageBackbone):
        return ""
    pixels = backbones[0].prepare(decode_image(picture, where))
    if pixels.dtype != np.uint8 or pixels.shape[2:] != (3,):  # of another form than a picture's
        return ""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def seen_pictures(findings: Sequence[Finding], runs: Sequence[Run]) -> SeenPictures:
    """The picture below every overlay of patches, read again from the posts of its run.

    Raises:
        DataError: The posts are not there, or changed, or the picture cannot be read.
        MvsaError: The backbone cannot be loaded.
    """
    by_digest = {analysed_run(run).digest: run for run in runs}
    wanted = {
        (plot.run, plot.post_id)
        for finding in findings
        for plot in finding.plots
        if isinstance(plot, OverlayPlot) and plot.patches and plot.run in by_digest
    }
    load = cache(load_backbone)  # heads of one comparison mostly share it
    return {
        (run, post_id): _of_run(by_digest[run], post_id, load) for run, post_id in sorted(wanted)
    }


def picture_below(plot: Plot, pictures: SeenPictures) -> str:
    """The picture of a plot; empty unless it is an overlay of patches whose picture is known."""
    return pictures.get((plot.run, plot.post_id), "") if isinstance(plot, OverlayPlot) else ""


def _of_run(run: Run, post_id: str, load: Callable[[BackboneOptions], object]) -> str:
    records = records_of(run, Modality.IMAGE)
    posts = own_posts(run, [Modality.IMAGE])
    image = next((post.image for post in posts.posts if post.id == post_id), None)
    if image is None or len(records) != 1:
        return ""
    backbone = load(options_of(run, Modality.IMAGE, records[0]))
    return seen_picture([backbone], posts.storage.read(image), posts.storage.where(image))
