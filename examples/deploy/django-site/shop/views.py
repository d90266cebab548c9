"""The pages of the shop: each answers at once, and workers do the work."""

from __future__ import annotations

from functools import partial

import perdure
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from shop.durable import client
from shop.models import Order
from shop.orchestrations import deliver


@csrf_exempt
@require_POST
@transaction.atomic
def order(request: HttpRequest, number: str) -> HttpResponse:
    Order.objects.get_or_create(number=number, defaults={"item": request.POST["item"]})
    transaction.on_commit(partial(begin, number))  # never before its row is there
    return JsonResponse({"order": number}, status=202)


def begin(number: str) -> None:
    # The same request once more starts nothing.
    client().start_orchestration(number, deliver, number, if_exists="return")


@csrf_exempt
@require_POST
def approve(request: HttpRequest, number: str) -> HttpResponse:
    client().raise_event_typed(number, "approval", True, event_id=f"approval of {number}")
    return JsonResponse({"order": number}, status=202)


def look(request: HttpRequest, number: str) -> HttpResponse:
    row = get_object_or_404(Order, number=number)
    match client().get_orchestration_status(number):
        case perdure.Running(parked=perdure.Parked(reason=reason)):
            return JsonResponse({"state": row.state, "parked": reason})
        case perdure.Failed(details=details):
            return JsonResponse({"state": "failed", "reason": details.display_message()})
        case _:
            return JsonResponse({"state": row.state})
