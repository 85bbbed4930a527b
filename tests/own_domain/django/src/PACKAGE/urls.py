"""The service's paths. Add your own here."""

from django.urls import include, path

urlpatterns = [
    path("", include("PACKAGE.health")),
    path("api/", include("PACKAGE.stock.urls")),
]
