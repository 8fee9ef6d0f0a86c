from django.shortcuts import render

from djangosite.revision import REVISION


def home(request):
    return render(request, "pages/home.html", {"revision": REVISION})
