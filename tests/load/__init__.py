"""Requests through nginx while releases change, every answer checked: `tox -e load`."""
