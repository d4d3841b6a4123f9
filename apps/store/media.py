"""Media in the database: kept with the responses that use them, erased with the last of them.

``keep`` and ``release`` belong into the transactions of responses. Both lock rows in the order of
their hashes, after those of responses: whoever waits for whom, nobody waits in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Exists, OuterRef, QuerySet

from apps.store.models import Media, MediaUse
from apps.store.snapshots import MediaFacts, RunSnapshot, StoredMedia


def keep(run: RunSnapshot) -> None:
    """Store what is new of a run's media, and note that its items use them all. To do it again
    changes nothing."""
    new = {media.sha256: media for media in (*run.media, *run.made)}
    used = {*run.media_uses, *(media.sha256 for media in run.made)}
    claims = [_claim(sha256, new.get(sha256), run.project_id) for sha256 in sorted(used)]
    MediaUse.objects.bulk_create(
        (MediaUse(response_id=run.id, media_id=key) for key in claims if key is not None),
        ignore_conflicts=True,
    )


def put(media: StoredMedia, *, project_id: int) -> None:
    """Store an image for the run that has made it, which will ``keep`` it at its end."""
    Media.objects.bulk_create([_row(media, project_id)], ignore_conflicts=True)


def unused(before: datetime) -> QuerySet[Media]:
    """What runs have put and never kept, since their processes died."""
    rows = Media.objects.filter(created_at__lt=before)
    return rows.exclude(Exists(MediaUse.objects.filter(media=OuterRef("pk"))))


def release(response_id: str) -> None:
    """Forget what one response uses, and erase what no other response does."""
    uses = MediaUse.objects.filter(response_id=response_id)
    keys = list(uses.values_list("media_id", flat=True))
    if not keys:
        return
    media = Media.objects.filter(pk__in=keys)
    list(media.order_by("sha256").select_for_update().values_list("pk"))
    uses.delete()
    media.exclude(Exists(MediaUse.objects.filter(media=OuterRef("pk")))).delete()


def facts(sha256s: Iterable[str], *, project_id: int) -> list[MediaFacts]:
    """What there is of these media in a project, without their bytes."""
    rows = Media.objects.filter(project_id=project_id, sha256__in=set(sha256s))
    return [MediaFacts(*row) for row in rows.values_list("sha256", "media_type", "size", "text")]


def contents(sha256s: Iterable[str], *, project_id: int) -> dict[str, bytes]:
    """The bytes of these media of a project by their hashes."""
    rows = Media.objects.filter(project_id=project_id, sha256__in=set(sha256s))
    return {sha256: bytes(data) for sha256, data in rows.values_list("sha256", "data")}


def _claim(sha256: str, new: StoredMedia | None, project_id: int) -> int | None:
    """The key of a row that nobody erases before this transaction ends; stored when it is not
    there and new. One at a time: rows that are there and rows that are made have one order."""
    row = Media.objects.filter(project_id=project_id, sha256=sha256).select_for_update()
    while (key := row.values_list("pk", flat=True).first()) is None and new is not None:
        # What another transaction has just stored is not stored again, but waited for.
        Media.objects.bulk_create([_row(new, project_id)], ignore_conflicts=True)
    return key


def _row(media: StoredMedia, project_id: int) -> Media:
    return Media(
        project_id=project_id,
        sha256=media.sha256,
        media_type=media.media_type,
        size=len(media.data),
        data=media.data,
        text=media.text,
    )
