import hashlib
import os
import time

from django.conf import settings
from django.core.files.storage import default_storage
from django.http import HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from djangosite.revision import REVISION

from .models import Echo

SHOWN = ("DJANGO_ALLOWED_HOSTS", "DJANGO_DB", "HOME", "LANG", "PATH", "USER")


def slow(request):
    """Answers after as many seconds as asked for."""
    time.sleep(float(request.GET.get("seconds", "1")))
    return HttpResponse(f"revision: {REVISION}\n", content_type="text/plain")


@csrf_exempt
@require_POST
def echo(request):
    """Stores the body under ?key= (the body itself without one) and gives it back."""
    body = request.body.decode()
    Echo.objects.create(key=request.GET.get("key", body)[:200], body=body)
    return HttpResponse(body, content_type="text/plain; charset=utf-8")


def count(request):
    """How many times the POST of this key was executed."""
    return HttpResponse(str(Echo.objects.filter(key=request.GET["key"]).count()), content_type="text/plain")


@csrf_exempt
@require_POST
def upload(request):
    """Stores a file among the media and says where it is."""
    file = request.FILES["file"]
    return JsonResponse({"url": settings.MEDIA_URL + default_storage.save(file.name, file)})


def env(request):
    """What the application sees of its environment and of the proxy before it.

    Variables are shown by a fixed list and when their name begins with SHOW_.
    """
    shown = {name: value for name, value in os.environ.items() if name in SHOWN or name.startswith("SHOW_")}
    headers = {
        name: value for name, value in request.headers.items() if name.startswith("X-") or name == "Forwarded"
    }
    return JsonResponse(
        {
            "revision": REVISION,
            "pid": os.getpid(),
            "env": shown,
            "secret_key_sha256": hashlib.sha256(settings.SECRET_KEY.encode()).hexdigest(),
            "headers": headers,
            "remote_addr": request.META.get("REMOTE_ADDR"),
            "script_name": request.META.get("SCRIPT_NAME"),
            "path": request.path,
            "host": request.get_host(),
            "is_secure": request.is_secure(),
        }
    )
