from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("pages", "0001_initial")]
    operations = [
        migrations.AddField(
            model_name="echo",
            name="revision",
            field=models.CharField(db_default="one", default="two", max_length=20),
        ),
    ]
