"""The page itself: Gradio's inputs around the answers, served on this machine alone."""

import importlib.util
import os
import socket
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.try_page.answer import answers
from mvsa_pipe.try_page.examples import examples
from mvsa_pipe.try_page.markup import answers_html
from mvsa_pipe.try_page.models import TriedModel
from mvsa_pipe.try_page.options import TryOptions

HOST = "127.0.0.1"
_PORTS = range(7860, 7960)
_TITLE = "Try runs"
# Fonts of the reader's system: Gradio's themes would load theirs from Google.
_FONTS = ["system-ui", "-apple-system", "Segoe UI", "sans-serif"]
_MONO_FONTS = ["ui-monospace", "Consolas", "monospace"]
# A browser then asks no other machine, whatever a version of Gradio contains.
_POLICY = (
    b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; form-action 'self'; "
    b"base-uri 'self'"
)
_MOST_PICTURE, _MOST_TEXT = "64mb", 10_000
_ENVIRONMENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def require_gradio() -> None:
    """Refuses the page without its package.

    Raises:
        ConfigError: Gradio is not installed.
    """
    if importlib.util.find_spec("gradio") is None:
        raise ConfigError(
            "mvsa try needs Gradio, which is not installed", hint='pip install "mvsa-pipe[try]"'
        )


@contextmanager
def served(models: Sequence[TriedModel], options: TryOptions) -> Iterator[tuple[str, str | None]]:
    """Serves the page while the context lasts; pictures that were tried are deleted at its end.

    Args:
        models: What answers.
        options: The port, and whether the page is opened and shared.

    Yields:
        The address of the page, and its public address if it is shared.

    Raises:
        ConfigError: Gradio is not installed, or the port is taken.
    """
    require_gradio()
    port = _free_port(options.port)
    with tempfile.TemporaryDirectory(prefix="mvsa-try-") as folder:
        # Gradio reads these when it is imported and when it stores a file.
        os.environ.update(_ENVIRONMENT | {"GRADIO_TEMP_DIR": folder})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Gradio about its own dependencies
            page = _page(models, Path(folder))
            _, local, public = page.launch(**_launching(options, port))
        try:
            yield local, public
        finally:
            page.close(verbose=False)


def wait_for_interrupt() -> None:
    """Returns when the user presses Ctrl+C."""
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return


def _free_port(wanted: int | None) -> int:
    """The port that is asked for, or the first free one.

    Raises:
        ConfigError: It is taken.
    """
    ports = _PORTS if wanted is None else (wanted,)
    for port in ports:
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((HOST, port))
            except OSError as error:
                fault = error
            else:
                return port
    raise ConfigError(
        "The page cannot be served",
        where=f"{HOST}:{ports[0]}",
        expected="a free port",
        found=fault,
        hint="--port names another port",
    )


def _launching(options: TryOptions, port: int) -> dict[str, Any]:
    import gradio
    from starlette.middleware import Middleware

    return {
        "server_name": HOST,
        "server_port": port,
        "share": options.share,
        "inbrowser": options.open,
        "prevent_thread_lock": True,
        "quiet": True,
        "footer_links": [],
        "max_file_size": _MOST_PICTURE,
        "enable_monitoring": False,
        "ssr_mode": False,
        "theme": gradio.themes.Base(font=_FONTS, font_mono=_MONO_FONTS),
        "app_kwargs": {"middleware": [Middleware(_OwnMachineAlone)]},
    }


class _OwnMachineAlone:
    """Middleware that tells browsers to load nothing from elsewhere."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  # ASGI
        async def with_policy(message: Any) -> None:  # noqa: ANN401
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), (b"content-security-policy", _POLICY)]
                message = message | {"headers": headers}
            await send(message)

        await self.app(scope, receive, with_policy)


def _page(models: Sequence[TriedModel], folder: Path) -> Any:  # noqa: ANN401  # gradio's Blocks
    import gradio

    def respond(text: str | None, picture: str | None) -> str:
        data = None if picture is None else Path(picture).read_bytes()
        return answers_html(answers(models, text if text and text.strip() else None, data))

    with gradio.Blocks(title=_TITLE, analytics_enabled=False) as page:
        gradio.Markdown(f"# {_TITLE}")
        with gradio.Row():
            text = gradio.Textbox(label="Text", lines=8, max_length=_MOST_TEXT)
            # The file as it is: backbones decode it themselves.
            picture = gradio.Image(
                label="Picture",
                type="filepath",
                image_mode=None,
                height=240,
                sources=["upload", "clipboard"],
            )
            # Nor is the file opened before: backbones say what is wrong with it. No subclass does
            # this, as Gradio writes a stub file beside the source of each.
            picture.preprocess = _path_of
        ask = gradio.Button("Answer", variant="primary")
        shown = gradio.HTML(apply_default_css=False, render=False)
        posts = examples()
        files = [folder / f"example-{number}.jpg" for number in range(1, len(posts) + 1)]
        for post, file in zip(posts, files, strict=True):
            file.write_bytes(post.picture)
        gradio.Examples(
            [[post.text, str(file)] for post, file in zip(posts, files, strict=True)],
            [text, picture],
            shown,
            respond,
            run_on_click=True,
            cache_examples=False,
            example_labels=[post.shows for post in posts],
            label="Synthetic examples",
            api_visibility="private",
        )
        shown.render()
        ask.click(respond, [text, picture], shown, api_visibility="private")
    return page


def _path_of(payload: Any) -> str | None:  # noqa: ANN401  # gradio's
    """The path of an uploaded file."""
    return None if payload is None else str(payload.path)
