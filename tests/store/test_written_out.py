"""The statements that are written out by hand say what the ORM would say."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from django.db.models import AutoField, Model

from apps.store import responses as store
from apps.store import run_rows
from apps.store.models import ApiKey, Project, Response, ResponsePayload, StoredItem
from tests.store.factories import ended, make_run, make_text

WRITTEN_OUT = {
    Response: run_rows.INSERT_RUN,
    ResponsePayload: run_rows.INSERT_PAYLOAD,
    StoredItem: run_rows.INSERT_ITEM,
}


@pytest.mark.parametrize("model", WRITTEN_OUT)
def test_every_column_is_named_that_the_database_does_not_fill(model: type[Model]) -> None:
    table, columns = re.findall(r"INTO (\w+) \((.*?)\)", WRITTEN_OUT[model])[0]
    needed = {
        field.column
        for field in model._meta.concrete_fields
        if not isinstance(field, AutoField) and field.name != "deleted_at"
    }
    assert table == model._meta.db_table
    assert set(columns.split(", ")) == needed


@pytest.mark.django_db
def test_a_run_comes_back_as_it_was_written() -> None:
    key = ApiKey.objects.create(
        project=Project.objects.get(slug=Project.DEFAULT_SLUG), name="k", prefix="p", digest="d"
    )
    run = ended(
        make_run(
            key_id=key.pk,
            streamed=True,
            created_at=datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=UTC),
            first_token_ms=1,
            duration_ms=2,
            input_tokens=3,
            cached_tokens=4,
            output_tokens=5,
            reasoning_tokens=6,
            turns=7,
            tool_calls=8,
            error_code="é",
            error_stage="stream",
            upstream_status=500,
            upstream_attempts=9,
        ),
        make_text(id="a", text="\U0001f469 'quoted' %s"),
        status="failed",
    )
    assert store.finish_response(run, begun=False)
    row = Response.objects.get(pk=run.id)
    for name in run_rows.AS_IN_SNAPSHOT:
        assert getattr(row, name) == getattr(run, name), name
    assert (row.api_key_id, row.used_at) == (key.pk, run.ended_at)
    assert row.deleted_at is None
    item = row.items.get(direction=StoredItem.OUTPUT)
    assert item.payload == run.output[0].json.decode()


@pytest.mark.django_db
def test_a_run_may_have_no_items() -> None:
    run = make_run(input=[])
    store.begin_response(run)
    assert not StoredItem.objects.filter(response_id=run.id).exists()
