"""PURE. The rules of supervision, by code: one class each, the same at all three moments."""

from supervision.rules import charges, courses, meetings, peers
from supervision.rules.base import RULES, Rule
from supervision.rules.data import Found, Visits

__all__ = ("RULES", "Found", "Rule", "Visits", "charges", "courses", "meetings", "peers")
