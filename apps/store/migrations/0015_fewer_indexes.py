import django.db.models.deletion
from django.db import migrations, models

OLD = {
    "store_response_project_id_a59be5fe": "store_response (project_id)",
    "store_response_request_id_c17d2837": "store_response (request_id)",
    "store_response_root_id_180f6faf": "store_response (root_id)",
    "store_storeditem_item_id_19e327d6": "store_storeditem (item_id)",
    "store_storeditem_response_id_6e237adb": "store_storeditem (response_id)",
}
# For LIKE, which nobody asks for; only PostgreSQL has them. Those of primary keys came unasked.
FOR_LIKE = [
    "store_response_id_205d3cfe_like",
    "store_response_request_id_c17d2837_like",
    "store_response_root_id_180f6faf_like",
    "store_responsepayload_response_id_fa38e501_like",
    "store_storeditem_item_id_19e327d6_like",
    "store_storeditem_response_id_6e237adb_like",
]


class Migration(migrations.Migration):
    """By name, and not by the fields' own changes: for those SQLite would copy whole tables."""

    dependencies = [("store", "0014_mcp_approval_decided_by")]

    operations = [
        migrations.AddIndex(
            "response", models.Index(fields=["request_id"], name="response_by_request")
        ),
        migrations.AddIndex("response", models.Index(fields=["root"], name="response_by_root")),
        migrations.AddIndex("storeditem", models.Index(fields=["item_id"], name="item_by_id")),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    [f"DROP INDEX IF EXISTS {name}" for name in [*FOR_LIKE, *OLD]],
                    [f"CREATE INDEX {name} ON {of}" for name, of in OLD.items()],
                )
            ],
            state_operations=[
                migrations.AlterField(
                    "response",
                    "project",
                    models.ForeignKey(
                        to="store.project",
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="responses",
                        db_index=False,
                    ),
                ),
                migrations.AlterField(
                    "response", "request_id", models.CharField(max_length=128, blank=True)
                ),
                migrations.AlterField(
                    "response",
                    "root",
                    models.ForeignKey(
                        to="store.response",
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="chain",
                        db_index=False,
                    ),
                ),
                migrations.AlterField("storeditem", "item_id", models.CharField(max_length=128)),
                migrations.AlterField(
                    "storeditem",
                    "response",
                    models.ForeignKey(
                        to="store.response",
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="items",
                        db_index=False,
                    ),
                ),
            ],
        ),
    ]
