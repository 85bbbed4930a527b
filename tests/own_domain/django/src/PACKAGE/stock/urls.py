"""The paths of stock and reservations."""

from django.urls import path

from . import views

urlpatterns = [
    path("stock/<str:article>", views.StockDetail.as_view()),
    path("reservations", views.Reservations.as_view()),
]
