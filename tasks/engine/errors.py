"""What every failure a person should read has in common."""


class Error(Exception):
    """Something went wrong that a person can act on; its text is the message they see."""
