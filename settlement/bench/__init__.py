"""Measurements against a floor of the same run; see settlement/management/commands/bench.py."""
