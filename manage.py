#!/usr/bin/env python3
"""Django's command line; starts the private servers for commands that need a database."""

import contextlib
import os
import sys
from pathlib import Path

NO_DATABASE = {
    "help", "version", "check", "collectstatic", "findstatic", "diffsettings", "spectacular",
    "makemessages", "compilemessages", "startapp",
}  # fmt: skip


def needs_servers(arguments: list[str]) -> bool:
    """Whether a command line reads the database and nobody named one."""
    if os.environ.get("DATABASE_URL") or len(arguments) < 2 or "--help" in arguments:
        return False
    return arguments[1] not in NO_DATABASE or "--database" in arguments


def main() -> None:
    """Runs one management command."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.management import execute_from_command_line

    with contextlib.ExitStack() as stack:
        if needs_servers(sys.argv):
            from config.embedded import Servers

            var_dir = os.environ.get("VAR_DIR") or Path(__file__).resolve().parent / "var"
            stack.enter_context(Servers(var_dir).lent())
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
