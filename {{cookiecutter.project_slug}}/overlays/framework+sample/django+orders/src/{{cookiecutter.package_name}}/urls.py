"""The paths."""

from django.urls import path

from . import routes

urlpatterns = [
    path("health", routes.Health.as_view()),
    path("ready", routes.Ready.as_view()),
    path("api/orders", routes.Orders.as_view()),
    path("api/orders/<str:order_id>", routes.OneOrder.as_view()),
    path("api/payments", routes.Payments.as_view()),
]
