"""A Django site whose views start orders and tell how they stand; a worker process runs them.

One file, so that it runs as it is: in a project of yours the settings, the views and the worker
have files of their own.
"""

from __future__ import annotations

import asyncio
from functools import cache

import django
import perdure
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.test import Client as Browser
from django.urls import path
from django.views.decorators.http import require_POST

STORAGE = "sqlite:///orders.db"
app = perdure.Registry()


@app.orchestration
async def order(ctx: perdure.OrchestrationContext, item: str) -> str:
    return f"{item} is sent"


@cache
def client() -> perdure.BlockingClient:
    """One client for all threads, opened by the first request: after a server has forked.

    Two first requests at once may open two, which does no harm.
    """
    return perdure.BlockingClient.open(STORAGE)


@require_POST
def start(request: HttpRequest, number: str) -> HttpResponse:
    # The same request once more starts nothing.
    client().start_orchestration(number, order, request.POST["item"], if_exists="return")
    return JsonResponse({"order": number}, status=202)


def look(request: HttpRequest, number: str) -> HttpResponse:
    match client().get_orchestration_status(number):
        case perdure.NotFound():
            raise Http404
        case perdure.Running():
            return JsonResponse({"state": "running"})
        case perdure.Completed(output=output):
            return JsonResponse({"state": "completed", "output": output})
        case perdure.Failed(details=details):
            return JsonResponse({"state": "failed", "reason": details.display_message()})


urlpatterns = [path("orders/<number>/start", start), path("orders/<number>", look)]


async def work_until_done(number: str) -> None:
    """What a worker process does, here until one order is done."""
    async with perdure.open_provider(STORAGE) as provider, perdure.Runtime(provider, app):
        await perdure.Client(provider).wait_for_orchestration(number, timeout=30)


def main() -> None:
    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["testserver"], SECRET_KEY="none")
    django.setup()
    browser = Browser()
    assert browser.get("/orders/o-1").status_code == 404
    for _ in range(2):
        assert browser.post("/orders/o-1/start", {"item": "lamp"}).status_code == 202
    assert browser.get("/orders/o-1").json() == {"state": "running"}
    asyncio.run(work_until_done("o-1"))
    expected = {"state": "completed", "output": '"lamp is sent"'}
    assert browser.get("/orders/o-1").json() == expected
    client().close()


if __name__ == "__main__":
    main()
