"""Accountability: the append-only trail, tasks due, tamper evidence. The floor: imports nobody."""
