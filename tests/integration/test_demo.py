"""The demo shows what it promises, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.gunicorn_server import until


def test_a_demo_that_is_ended_ends_what_it_started(tmp_path: Path) -> None:
    """SIGTERM, as a closed terminal or a test runner sends it."""
    demo = subprocess.Popen(
        [sys.executable, "-m", "watchdog_worker", "demo"], cwd=tmp_path,
        stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert demo.stdout is not None
    pids = []
    for line in demo.stdout:
        booting = re.search(r"Booting worker with pid: (\d+)", line)
        if booting:
            pids.append(int(booting[1]))
        if "WARNING] watchdog loop blocked" in line:
            demo.terminate()
            break
    demo.communicate(timeout=60)
    assert demo.returncode == 128 + 15
    assert len(pids) == 1
    until(lambda: not os.path.exists(f"/proc/{pids[0]}"), what="the worker's end")
    assert not list(tmp_path.iterdir())


def test_the_demo(tmp_path: Path) -> None:
    """Stall, dump, kill, the client's empty reply and an explanation; status 0; all ended."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "watchdog_worker", "demo"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env={**os.environ, "TMPDIR": str(tmp_path)})
    took = time.monotonic() - began
    assert done.returncode == 0, done.stdout + done.stderr
    words = done.stdout
    stall, dump, kill = (words.index(part) for part in (
        "WARNING] watchdog loop blocked", "CRITICAL] watchdog loop blocked",
        "WORKER TIMEOUT (pid"))
    assert stall < dump < kill
    assert "shop.py:18 in charge: time.sleep(30)" in words
    assert "an empty reply: the worker died under it" in words
    assert "What you have seen:" in words
    assert not list(tmp_path.iterdir())
    assert took < 60  # 15 s on a machine that is not busy; `make demo` shows it
