"""A year of invented practice with planted violations, and what the rules make of it."""
