"""Pages of the registry; other apps use the day of a page and its words from here."""

from institutions.views.file import day_of, price_class, span

__all__ = ["day_of", "price_class", "span"]
