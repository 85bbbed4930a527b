"""The table of orders."""

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """Create the table."""

    initial = True

    dependencies: ClassVar = []

    operations: ClassVar = [
        migrations.CreateModel(
            name="OrderRow",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("status", models.CharField(max_length=16)),
                ("total", models.DecimalField(decimal_places=2, max_digits=14)),
                ("items", models.JSONField()),
                ("created_at", models.DateTimeField(db_index=True)),
            ],
            options={"db_table": "orders"},
        ),
    ]
