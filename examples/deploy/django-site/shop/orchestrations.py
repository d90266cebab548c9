"""The durable work of the shop. Activities are plain functions, so they may use the ORM."""

from __future__ import annotations

import perdure
from django.db import close_old_connections

from shop.durable import registry
from shop.models import Order


@registry.activity
def note_state(number: str, state: str) -> None:
    """Write the state of an order into the site's database."""
    # As at the beginning of a request: a connection that the database has closed is not used.
    close_old_connections()
    Order.objects.filter(number=number).update(state=state)


@registry.orchestration
async def deliver(ctx: perdure.OrchestrationContext, number: str) -> str:
    await ctx.activity(note_state)(number, "packed")
    approved = await ctx.schedule_wait("approval", bool)
    state = "sent" if approved else "put back"
    await ctx.activity(note_state)(number, state)
    return state
