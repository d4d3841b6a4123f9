"""Lists of tables that grow without end: nothing on their pages reads them from end to end."""

from __future__ import annotations

import calendar
from datetime import date
from functools import cached_property
from typing import Any, NamedTuple

from django.core.paginator import Paginator
from django.utils import formats

COUNT_LIMIT = 10_000


class BoundedPaginator(Paginator[Any]):
    """Counts no further than anybody turns pages. The templates of the lists say so where it
    ``is_cut``."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by().values("pk")[: COUNT_LIMIT + 1].count())

    @property
    def is_cut(self) -> bool:
        return self.count > COUNT_LIMIT

    @property
    def limit(self) -> str:
        return f"{COUNT_LIMIT:,}"


class Span(NamedTuple):
    """A year, one of its months, or one of its days."""

    year: int
    month: int | None = None
    day: int | None = None

    def __str__(self) -> str:
        if self.month is None:
            return str(self.year)
        if self.day is None:
            return formats.date_format(date(self.year, self.month, 1), "YEAR_MONTH_FORMAT")
        return formats.date_format(date(self.year, self.month, self.day), "MONTH_DAY_FORMAT")


def narrowest(first: date, last: date) -> Span | None:
    """The month or year that both days are in."""
    if first.year != last.year:
        return None
    return Span(first.year, first.month if first.month == last.month else None)


def parts(of: Span | None, first: date, last: date) -> list[Span]:
    """The years, months or days below ``of``, from the first row to the last, whatever lies
    between: Django's own hierarchy reads every row to leave out those without any."""
    if of is None:
        return [Span(year) for year in range(first.year, last.year + 1)]
    if of.month is None:
        ends = (first.year, first.month), (last.year, last.month)
        return [Span(of.year, m) for m in range(1, 13) if ends[0] <= (of.year, m) <= ends[1]]
    if of.day is None:
        days = range(1, calendar.monthrange(of.year, of.month)[1] + 1)
        return [Span(*of[:2], d) for d in days if first <= date(of.year, of.month, d) <= last]
    return [of]


def above(span: Span) -> Span | None:
    """The month of a day, the year of a month; None for a year."""
    if span.day is not None:
        return Span(span.year, span.month)
    return Span(span.year) if span.month is not None else None
