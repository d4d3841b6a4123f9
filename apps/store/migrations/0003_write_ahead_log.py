"""SQLite in WAL mode: readers never wait for the writer. The mode is kept in the file."""

from django.db import migrations


def set_mode(apps, schema_editor):
    if schema_editor.connection.vendor == "sqlite":
        schema_editor.execute("PRAGMA journal_mode=WAL")


class Migration(migrations.Migration):
    atomic = False  # the mode cannot change inside a transaction
    dependencies = [("store", "0002_first_rows")]
    operations = [migrations.RunPython(set_mode, migrations.RunPython.noop)]
