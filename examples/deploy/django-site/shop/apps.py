"""The application `shop`."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class ShopConfig(AppConfig):
    name = "shop"

    def ready(self) -> None:
        # Registers what every application has in a module `orchestrations`. Nothing is opened
        # here: this runs before a server forks, and in every command of manage.py.
        autodiscover_modules("orchestrations")
