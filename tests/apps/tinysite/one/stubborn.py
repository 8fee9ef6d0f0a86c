"""A background process that has something to finish: told to stop, it goes on for so many seconds."""

import signal
import sys
import time

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
signal.sigwait({signal.SIGTERM})
time.sleep(float(sys.argv[1]))
