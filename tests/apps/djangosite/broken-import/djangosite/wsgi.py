import os

from django.core.wsgi import get_wsgi_application

from pages import nothing_of_this_name

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "djangosite.settings")

application = nothing_of_this_name(get_wsgi_application())
