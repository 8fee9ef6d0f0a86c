import os
import time

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "djangosite.settings")

time.sleep(float(os.environ.get("SHOW_START_SECONDS", "10")))
application = get_wsgi_application()
