"""The service's paths. Add your own here."""

from django.urls import include, path

from . import hello

urlpatterns = [
    path("", include("{{cookiecutter.package_name}}.health")),
    path("api/hello/<str:name>", hello.Hello.as_view()),
]
