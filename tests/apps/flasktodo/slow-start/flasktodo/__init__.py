import os
import time

from .application import create_app

time.sleep(float(os.environ.get("SHOW_START_SECONDS", "10")))
app = create_app()
