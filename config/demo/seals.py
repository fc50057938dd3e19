"""The trail of the demonstration, sealed: one checkpoint over everything, of the demonstration's day."""

from audit import clock, sealer
from audit.models import SealState
from config.demo import TODAY, moment


def awake() -> None:
    """Until the seal at the end the sealer counts as running: no worker runs yet, and months close."""
    SealState.objects.filter(pk=1).update(ran_at=clock.machine())


def make_seal() -> str:
    """Seal every event so far."""
    run = sealer.seal(at=moment(TODAY), machine=clock.machine())
    return f"{run.size} 条操作记录，检查点 {run.checkpoint.key_id if run.checkpoint else '—'}"
