"""What runs on the hosts: standard library only, Python 3.9 and later, sent over when a session starts."""
