"""Doorbells for workers: the database says what is to be done, a message only wakes somebody."""

import logging
from collections.abc import Iterable

from celery import current_app
from kombu.exceptions import OperationalError

log = logging.getLogger(__name__)


def ring(task: str, ids: Iterable[int] | None = None) -> None:
    """One message for every id, or one without. A broker that is down or full loses nothing: beat
    rings again, and what was committed before the bell stays committed.
    """
    messages = [[]] if ids is None else [[key] for key in ids]
    connection = current_app.connection_for_write()
    unwell = (OSError, *connection.connection_errors, *connection.channel_errors)
    try:
        with connection:
            connection.ensure_connection(max_retries=1, timeout=2)
            with current_app.amqp.Producer(connection) as producer:
                for args in messages:
                    current_app.send_task(task, args=args, producer=producer, retry=False)
    except (OperationalError, *unwell) as error:
        log.warning("the broker takes no message (%s); beat will ring again", error)
