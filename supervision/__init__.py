"""Watching: findings, cases, assessment and disclosure. Stands above settlement, below the gateway."""
