"""The rows that everything else refers to: the default project and the configuration's version."""

from django.db import migrations


def create(apps, schema_editor):
    apps.get_model("store", "Project").objects.get_or_create(
        slug="default", defaults={"name": "Default project"}
    )
    apps.get_model("store", "Configuration").objects.get_or_create(pk=1)


class Migration(migrations.Migration):
    dependencies = [("store", "0001_initial")]
    operations = [migrations.RunPython(create, migrations.RunPython.noop)]
