"""A file of claims: checked, loaded and frozen, settled in chunks by person, closed when right.

The database is the queue of record: a chunk's row says whether it is settled, and its transaction
holds the row's lock while it works. A message of the broker is only a doorbell: losing it loses
nothing.
"""
