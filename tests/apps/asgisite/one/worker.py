"""A background process that does nothing until it is told to stop."""

import signal

signal.sigwait({signal.SIGTERM})
