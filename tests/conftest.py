"""Shape annotations are checked while the tests run."""

import os

from jaxtyping import install_import_hook

# Before anything of the package is imported; the hub is never asked while tests run.
install_import_hook("mvsa_pipe", "beartype.beartype")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
