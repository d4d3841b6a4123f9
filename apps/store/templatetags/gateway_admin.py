"""Template tags of the admin's pages."""

from __future__ import annotations

from typing import Any

from django import template

from apps.store.admin.overview import figures

register = template.Library()


@register.inclusion_tag("admin/store/at_a_glance.html", takes_context=True)
def at_a_glance(context: dict[str, Any]) -> dict[str, Any]:
    """The block of figures on the first page."""
    return {"figures": figures(context["request"].user)}
