"""faulthandler's text, as every supported release writes it, and as nobody should."""

from __future__ import annotations

import pytest

from watchdog_worker.postmortem.rawtext import RawFrame, parsed

TIMER = """Timeout (0:00:01.750000)!
Thread 0x00007f4b8fbc36c0 (most recent call first):
  File "/srv/shop/pool.py", line 4 in work
  File "/usr/lib/python3.11/threading.py", line 982 in run

Thread 0x00007f4b90e5fb80 (most recent call first):
  File "/srv/shop/main.py", line 7 in hold
  File "/srv/shop/main.py", line 8 in <module>
"""
FATAL = """Fatal Python error: Segmentation fault

Thread 0x00007f4b8fbc36c0 (most recent call first):
  File "/srv/shop/pool.py", line 4 in work

Current thread 0x00007f4b90e5fb80 (most recent call first):
  File "/srv/shop/main.py", line 9 in crash

Extension modules: _cffi_backend, numpy.core._multiarray_umath (total: 2)
"""
ALONE = """Fatal Python error: Aborted

Stack (most recent call first):
  File "/srv/shop/main.py", line 9 in crash
"""
NAMED = """Current thread 0x00007f4b90e5fb80 [pool (3)] (most recent call first):
  File "/srv/shop/main.py", line 9 in crash
"""


def test_dumps_one_after_the_other() -> None:
    """The timer's and the signal's, each with its threads, outermost frame first."""
    timer, fatal = parsed(TIMER + FATAL)
    assert (timer.fatal, fatal.fatal) == (None, "Segmentation fault")
    assert [len(dump.threads) for dump in (timer, fatal)] == [2, 2]
    assert timer.threads[1].frames == (
        RawFrame("/srv/shop/main.py", 8, "<module>"), RawFrame("/srv/shop/main.py", 7, "hold"))
    assert timer.current is None
    assert fatal.current is not None and fatal.current.ident == 0x7f4b90e5fb80
    assert fatal.thread(0x7f4b8fbc36c0) == fatal.threads[0]
    assert fatal.thread(1) is None


def test_a_dump_of_one_thread_does_not_say_which() -> None:
    """It is the one that got the signal."""
    (dump,) = parsed(ALONE)
    assert [(thread.ident, thread.current) for thread in dump.threads] == [(0, True)]


def test_threads_with_names() -> None:
    """As newer releases write them; a dump without a title is one all the same."""
    (dump,) = parsed(NAMED)
    assert dump.threads[0].current


@pytest.mark.parametrize("cut", range(0, len(TIMER + FATAL), 7))
def test_a_text_that_is_cut_off_anywhere(cut: int) -> None:
    """What is whole is there, and nothing is made up."""
    whole = [frame for dump in parsed(TIMER + FATAL) for thread in dump.threads
             for frame in thread.frames]
    found = [frame for dump in parsed((TIMER + FATAL)[:cut]) for thread in dump.threads
             for frame in thread.frames]
    assert all(frame in whole or frame.function in "<module>hold work crash run" for frame in found)
    assert len(found) <= len(whole)


def test_what_makes_no_sense_is_passed_over() -> None:
    """A frame without a thread, a line of a million characters, an endless number."""
    assert parsed("") == []
    assert parsed('  File "x", line 1 in y\n') == []
    assert parsed("Thread 0x" + "f" * 50 + " (most recent call first):\n") == []
    (dump,) = parsed("Thread 0x01 (most recent call first):\n"
                     f'  File "{"x" * 10 ** 6}", line 1 in y\n'
                     f'  File "x", line {"9" * 5000} in y\n'
                     '  File "x", line ??? in y\n')
    assert dump.threads[0].frames == (RawFrame("x", 0, "y"),)


def test_no_more_than_can_be_shown() -> None:
    """A recorder that was filled on purpose gives a bounded number of threads and frames."""
    thread = "Thread 0x{:x} (most recent call first):\n" + '  File "x", line 1 in y\n' * 500
    dumps = parsed("".join(thread.format(at) for at in range(1, 300)))
    assert sum(len(dump.threads) for dump in dumps) <= 120
    assert all(len(each.frames) <= 120 for dump in dumps for each in dump.threads)
