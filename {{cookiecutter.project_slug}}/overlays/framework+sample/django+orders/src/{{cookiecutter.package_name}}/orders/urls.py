"""The paths of orders and payments."""

from django.urls import path

from . import views

urlpatterns = [
    path("orders", views.Orders.as_view()),
    path("orders/<str:order_id>", views.OrderDetail.as_view()),
    path("payments", views.Payments.as_view()),
]
