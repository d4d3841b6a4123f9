"""Template tags of the admin's pages."""

from __future__ import annotations

from datetime import date
from itertools import takewhile
from typing import Any

from django import template
from django.contrib.admin.views.main import ChangeList

from apps.store.admin.large_tables import Span, above, narrowest, parts
from apps.store.admin.overview import figures

register = template.Library()


@register.inclusion_tag("admin/store/at_a_glance.html", takes_context=True)
def at_a_glance(context: dict[str, Any]) -> dict[str, Any]:
    """The block of figures on the first page."""
    return {"figures": figures(context["request"].user)}


@register.inclusion_tag("admin/date_hierarchy.html")
def dates(cl: ChangeList) -> dict[str, Any]:
    """The years, months or days to choose from, in the place of Django's ``date_hierarchy``."""
    field = cl.date_hierarchy

    def end(order: str) -> date | None:
        moment = cl.model._default_manager.order_by(order).values_list(field, flat=True).first()
        return moment.date() if moment else None

    def link(span: Span | None) -> str:
        given = span._asdict() if span else {}
        return cl.get_query_string(
            {f"{field}__{name}": value for name, value in given.items() if value is not None},
            [f"{field}__"],
        )

    first, last = end(field), end(f"-{field}")
    if first is None or last is None:
        return {"show": False}
    names = takewhile(cl.params.__contains__, (f"{field}__{name}" for name in Span._fields))
    chosen = [int(cl.params[name]) for name in names]  # the list has refused what is no number
    span = Span(*chosen) if chosen else narrowest(first, last)
    back = {"link": link(above(span)), "title": above(span) or "All dates"} if span else None
    choices = [
        {"link": link(part) if part != span else "", "title": part}
        for part in parts(span, first, last)
    ]
    return {"show": True, "back": back, "choices": choices}
