from django.urls import path

from pages import home, views

urlpatterns = [
    path("", home.home),
    path("slow", views.slow),
    path("echo", views.echo),
    path("count", views.count),
    path("upload", views.upload),
    path("env", views.env),
]
