"""Where the pages of the shop are."""

from django.urls import path

from shop import views

urlpatterns = [
    path("orders/<number>", views.look),
    path("orders/<number>/order", views.order),
    path("orders/<number>/approve", views.approve),
]
