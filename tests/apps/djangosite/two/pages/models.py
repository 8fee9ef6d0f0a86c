from django.db import models


class Echo(models.Model):
    """One POST that was executed; a key that is there twice was executed twice."""

    key = models.CharField(max_length=200, db_index=True)
    body = models.TextField()
    # The database's own default lets revision one, which does not know this column, go on writing.
    revision = models.CharField(max_length=20, default="two", db_default="one")
