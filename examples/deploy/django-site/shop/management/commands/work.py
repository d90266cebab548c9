"""`manage.py work` runs what is registered, until the process is asked to stop."""

from __future__ import annotations

import asyncio

import perdure
from django.conf import settings
from django.core.management.base import BaseCommand

from shop.durable import registry


class Command(BaseCommand):
    help = "Run the durable work of the site, until SIGTERM or Ctrl-C."

    def handle(self, *args: object, **options: object) -> None:
        asyncio.run(self.work())

    async def work(self) -> None:
        async with perdure.open_provider(settings.PERDURE_STORAGE) as provider:
            async with perdure.Runtime(provider, registry) as runtime:
                self.stdout.write("the worker runs")
                await runtime.run_until_stopped()
