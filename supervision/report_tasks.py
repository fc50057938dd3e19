"""Celery tasks of reports: doorbells. A message carries an id; the database says what is to be done."""

from celery import shared_task

from audit import clock
from supervision.reports import orders


@shared_task(name=orders.GATHER_TASK, soft_time_limit=600, time_limit=900)
def gather_report(order_id: int) -> bool:
    """Gather the figures of an order and lay out its front; one that is taken or gone is passed over."""
    return orders.gather(order_id=order_id, at=clock.now)


@shared_task(name=orders.PART_TASK, soft_time_limit=300, time_limit=360)
def print_part(part_id: int) -> bool:
    """Lay out one part of a register in this worker."""
    return orders.print_part(part_id=part_id, at=clock.now())


@shared_task(name=orders.FINISH_TASK, soft_time_limit=300, time_limit=360)
def finish_report(order_id: int) -> bool:
    """Join the parts of an order and keep the report."""
    return orders.finish(order_id=order_id, at=clock.now())


@shared_task(name="supervision.sweep_reports", expires=60)
def sweep_reports() -> int:
    """Every minute: ring again for orders that wait; a lost message loses nothing."""
    return orders.sweep()
