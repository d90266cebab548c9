"""A Django view that inserts an order and starts its orchestration in one transaction."""

from __future__ import annotations

import django
import perdure
import perdure_sqlite
from django.conf import settings
from django.db import connection, models, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.http import require_POST

FILE = "shop.db"
settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["testserver"],
    SECRET_KEY="only for this machine",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FILE}},
)
django.setup()


class Order(models.Model):
    number = models.CharField(max_length=64, primary_key=True)

    class Meta:
        app_label = "shop"
        db_table = "orders"


async def prepare() -> None:
    """Make the tables of Perdure, in the file of the site; migrations make those of the site."""
    async with perdure.open_provider(f"sqlite:///{FILE}"):
        pass


@require_POST
@transaction.atomic
def place(request: HttpRequest, number: str) -> HttpResponse:
    Order.objects.create(number=number)
    client = perdure.BlockingClient(perdure_sqlite.bind(connection))
    client.start_orchestration(number, "process")  # workers run it
    return HttpResponse(status=201)


urlpatterns = [path("orders/<number>", place)]
