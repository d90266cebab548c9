"""Creates the table of orders."""

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            name="Order",
            fields=[
                ("number", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("item", models.CharField(max_length=200)),
                ("state", models.CharField(default="new", max_length=20)),
            ],
        )
    ]
