"""Django's PostgreSQL; whether a kept connection still lives is read off its socket, not asked.

Django sends `SELECT 1` before the first statement of every request, a twentieth of a claim's time. A server
that ends a session, is stopped or killed closes the socket, which then has something to read.
"""

import select

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    """`ENGINE = "config.postgresql"`."""

    def is_usable(self) -> bool:
        """After an error, and inside a transaction, the server is asked as ever."""
        if self.connection is None or self.connection.closed:
            return False
        if self.errors_occurred or self.in_atomic_block:
            return super().is_usable()
        waiting = select.poll()
        waiting.register(self.connection.fileno(), select.POLLIN)
        return not waiting.poll(0)
