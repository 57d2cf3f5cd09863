"""The `watchdog-worker` command. One module a subcommand."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence

COMMANDS = {
    "check": "whether the workers are alive and none is blocked, for a container's probe",
    "demo": "a real gunicorn on a bundled application, blocked on purpose, killed, explained",
    "ps": "the workers on this machine: which one is blocked, for how long and by what",
    "settings": "every setting with its value, default and meaning",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; the exit status. Errors of the user are one line and status 1 or 2."""
    given = sys.argv[1:] if argv is None else argv
    chosen = next((word for word in given if not word.startswith("-")), None)
    parser = argparse.ArgumentParser(
        prog="watchdog-worker",
        description="Tools of the gunicorn worker class watchdog_worker.Worker.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        if name != chosen:  # a probe does not pay for what the others import
            commands.add_parser(name, help=summary)
            continue
        module = importlib.import_module(f"watchdog_worker.cli.{name}")
        command = commands.add_parser(name, help=summary, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    arguments = parser.parse_args(given)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that knows ASCII only gets escapes
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return int(arguments.run(arguments))
    except CommandError as error:
        print(f"watchdog-worker {arguments.command}: {error}", file=sys.stderr)
        return error.status
    except BrokenPipeError:  # `| head` has read enough; nothing may be flushed to it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


class CommandError(Exception):
    """What the user can mend; one line."""

    def __init__(self, message: str, status: int = 1) -> None:
        """`status`: what the command exits with."""
        super().__init__(message)
        self.status = status
