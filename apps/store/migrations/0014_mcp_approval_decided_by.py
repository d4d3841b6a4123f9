"""Which response a decision came with. Of older ones, those that were used tell by their call."""

from django.db import migrations, models
from django.db.models import F


def take_over(apps, schema_editor):
    used = apps.get_model("store", "McpApproval").objects.exclude(used_by="")
    used.update(decided_by=F("used_by"))


class Migration(migrations.Migration):
    dependencies = [("store", "0013_messages")]
    operations = [
        migrations.AddField(
            model_name="mcpapproval",
            name="decided_by",
            field=models.CharField(
                blank=True,
                db_index=True,
                help_text="The response whose client said so: the reason goes with it.",
                max_length=64,
            ),
        ),
        migrations.RunPython(take_over, migrations.RunPython.noop),
    ]
