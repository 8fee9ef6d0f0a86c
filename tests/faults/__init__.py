"""Everything that can die, at every point of setup, deploy and rollback: `tox -e faults`."""
