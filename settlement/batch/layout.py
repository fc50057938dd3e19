"""PURE. The layout of what chunks are read from and digested as; a worker refuses any other.

During a deployment old and new code work side by side. A chunk carries the layout of the code that
froze it: whoever reads records or codes differently leaves it to a worker of the right code.
"""

import hashlib

from pricing.rules import CODES, SERVICES
from settlement.batch.results import LEG, LINE, SETTLEMENT
from settlement.columns import FACTS

SCHEMA_VERSION = 2  #: of the canonical bytes that are digested
LAYOUT = hashlib.new(
    "sm3",
    repr((SCHEMA_VERSION, FACTS.descr, CODES, SERVICES, SETTLEMENT, LINE, LEG)).encode(),
).hexdigest()[:8]
