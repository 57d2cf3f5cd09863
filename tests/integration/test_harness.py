"""The gunicorn that all these tests start: it leaves nothing behind, however a test ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.scene import group
from tests.gunicorn_server import Gunicorn


class NeverWell(Gunicorn):
    """What is waited for does not come, as on a machine that is too busy."""

    def answers(self) -> bool:
        self.logged("Booting worker")
        raise AssertionError("waited in vain")


def test_a_server_that_never_answers_is_ended(tmp_path: Path) -> None:
    """`with` has no end where its beginning fails."""
    server = NeverWell(tmp_path, "life:app")
    with pytest.raises(AssertionError, match="waited in vain"):
        server.__enter__()
    assert server.process.returncode is not None
    assert group(server.process.pid) == []
