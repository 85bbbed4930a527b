"""The service's paths. Add your own here."""

from django.urls import include, path

urlpatterns = [
    path("", include("{{cookiecutter.package_name}}.health")),
    path("api/", include("{{cookiecutter.package_name}}.orders.urls")),
]
