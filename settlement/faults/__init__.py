"""Killing on purpose: the same batch under every fault ends with the same ledger (`make faults`)."""
