"""What this repository runs itself: every task, against hosts/demo.yml."""

from fabrelease.tasks import ns

__all__ = ["ns"]
