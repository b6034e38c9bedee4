"""One cluster of this machine for all tests of this folder, as starting one takes seconds."""

from collections.abc import Iterator

import pytest

from mvsa_pipe.cluster.connection import Cluster, connected


@pytest.fixture(scope="package")
def cluster() -> Iterator[Cluster]:
    """A connected cluster; what is computed on Ray uses what it finds connected."""
    pytest.importorskip("ray", reason='Ray is not installed: pip install "mvsa-pipe[ray]"')
    with pytest.MonkeyPatch.context() as patch:
        # Ray's workers yield to all other processes by default, and hardly start on a busy machine.
        patch.setenv("RAY_worker_niceness", "0")
        with connected("local") as cluster:
            yield cluster
