"""When an order was announced, and when it is due to be published again."""

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """Add the columns."""

    dependencies: ClassVar = [("orders", "0001_initial")]

    operations: ClassVar = [
        migrations.AddField(
            model_name="orderrow",
            name="announced_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="orderrow",
            name="announce_after",
            field=models.DateTimeField(db_index=True, null=True),
        ),
    ]
