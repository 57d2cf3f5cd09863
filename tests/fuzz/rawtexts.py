"""What faulthandler writes, of all CPythons from 3.10 on, and what it never would."""

from __future__ import annotations

from watchdog_worker.vitals.recording import RAW_MOST

LOOP_THREAD = 0x7FE88564FB80

_LIBRARY = "/usr/lib/python3.11"
_POOL = f'''\
  File "{_LIBRARY}/concurrent/futures/thread.py", line 81 in _worker
  File "{_LIBRARY}/threading.py", line 982 in run
  File "{_LIBRARY}/threading.py", line 1045 in _bootstrap_inner
  File "{_LIBRARY}/threading.py", line 1002 in _bootstrap
'''
_LOOP = f'''\
  File "/srv/shop/pay.py", line 7 in charge
  File "/srv/shop/käse shop/views.py", line 42 in <lambda>
  File "{_LIBRARY}/asyncio/events.py", line 80 in _run
  File "{_LIBRARY}/asyncio/base_events.py", line 1922 in _run_once
  File "<frozen runpy>", line 198 in _run_module_as_main
'''
_ODD = f'''\
some C library says: out of cheese
Timeout (0:00:05.500000)!
Thread 0x0000000000000000 (most recent call first):
  <no Python frame>

Thread 0xffffffffffffffff [pool-1 "x" [y]] (most recent call first):
  File "a", line 1 in f", line 2 in g", line 999999999999999999999 in h
  File "", line ??? in ???
  File "???", line -1 in \x1b]0;title\x07
  Garbage-collecting
  ...
Thread {LOOP_THREAD:#018x} (most recent call first):
  File "b
  <tstate is freed>
Fatal Python error:\x20
Fatal Python error: Aborted: [CRITICAL] WORKER TIMEOUT (pid:1)
Current thread 0x (most recent call first):
  File "c", line \u0663 in \u202egpj\u2028
Stack (most recent call first):
  File "d", line 3 in
<Cannot show all threads while the GIL is disabled>
Fatal Python error: Segmentation fault

'''


def timer() -> bytes:
    """The timer's dump, with many threads."""
    threads = [_thread(0x7FE800000000 + at * 4096, _POOL) for at in range(40)]
    return ("Timeout (0:00:05.500000)!\n" + "\n".join(
        [*threads, _thread(LOOP_THREAD, _LOOP)])).encode()


def fatal() -> bytes:
    """The dump of the signal that ended the process."""
    others = "\n".join(_thread(0x7FE800000000 + at * 4096, _POOL) for at in range(3))
    current = "Current t" + _thread(LOOP_THREAD, _LOOP)[1:]
    return (f"Fatal Python error: Aborted\n\n{others}\n{current}\n"
            "Extension modules: uvloop.loop, httptools.parser.parser (total: 2)\n").encode()


def odd() -> bytes:
    """Lines that it would not write, or not so."""
    return (_ODD.encode() + b"Thread \xff\xfe (most recent call first):\n\0\0" + _ODD.encode()
            + b"  File \"cut off in the mid\xc3")


def long() -> bytes:
    """More than is read, in short lines, and one very long one."""
    deep = "".join(f'  File "/srv/deep.py", line {at} in f\n' for at in range(3000))
    return ("Timeout (0:00:01)!\n" + _thread(LOOP_THREAD, deep) + "x" * 50_000
            + "\n" * 40_000 + _thread(1, _LOOP) * 500)[:RAW_MOST + 5_000].encode()


def _thread(ident: int, frames: str) -> str:
    return f"Thread {ident:#018x} (most recent call first):\n{frames}"


def devices() -> bytes:
    """A stack in files that nobody should read."""
    files = ("/dev/zero", "/proc/self/mem", "/etc/shadow", "/dev/tty", "/")
    return b"Timeout (0:00:01)!\nThread 0x0000000000000001 (most recent call first):\n" + b"".join(
        f'  File "{file}", line 1 in f\n'.encode() for file in files)
