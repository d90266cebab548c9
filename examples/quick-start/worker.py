import asyncio

import perdure
from orders import app


async def main() -> None:
    async with perdure.open_provider("sqlite:///orders.db") as provider:
        async with perdure.Runtime(provider, app):
            print("the worker runs; stop it with Ctrl-C", flush=True)
            await asyncio.Event().wait()


asyncio.run(main())
