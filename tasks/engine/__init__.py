"""What the tasks are made of. A command is short-lived, and nearly all that it makes lives as long as it does."""

import atexit
import gc

gc.set_threshold(100_000)  # to look for garbage while modules are imported takes a tenth of a command's time
atexit.register(gc.freeze)  # and to look for it at the end another tenth of a second
