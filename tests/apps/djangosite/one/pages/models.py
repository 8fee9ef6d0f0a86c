from django.db import models


class Echo(models.Model):
    """One POST that was executed; a key that is there twice was executed twice."""

    key = models.CharField(max_length=200, db_index=True)
    body = models.TextField()
