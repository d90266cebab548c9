"""A Django view on PostgreSQL that inserts an order and starts its orchestration in one transaction.

The database is that of PGHOST, PGDATABASE and PGUSER; it has the table of the shop by a migration of the
site, and those of Perdure by `python -m perdure_postgres migrate`.
"""

from __future__ import annotations

import os

import django
import perdure
import perdure_postgres
from django.conf import settings
from django.db import connection, models, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.http import require_POST

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["testserver"],
    SECRET_KEY="only for this machine",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": os.environ["PGDATABASE"],
        }
    },
)
django.setup()


class Order(models.Model):
    number = models.CharField(max_length=64, primary_key=True)

    class Meta:
        app_label = "shop"
        db_table = "orders"


@require_POST
@transaction.atomic
def place(request: HttpRequest, number: str) -> HttpResponse:
    Order.objects.create(number=number)
    client = perdure.BlockingClient(perdure_postgres.bind(connection))
    client.start_orchestration(number, "process")  # workers run it
    return HttpResponse(status=201)


urlpatterns = [path("orders/<number>", place)]
