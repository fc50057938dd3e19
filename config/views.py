"""Pages that belong to no single application."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from audit.access import public
from config import gallery as samples

PAGE_SIZES = (20, 50, 100)


@public
def gallery(request: HttpRequest) -> HttpResponse:
    """Every component of the design system in every state; it shows no real data."""
    size = _whole(request.GET.get("size"), 20)
    context = samples.context(
        page=_whole(request.GET.get("page"), 1),
        size=size if size in PAGE_SIZES else PAGE_SIZES[0],
        sort=request.GET.get("sort", "-date"),
    )
    return render(request, "gallery.html", context)


def _whole(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else default
