import asyncio

import perdure
from orders import app


async def main() -> None:
    async with perdure.open_provider("sqlite:///orders.db") as provider:
        async with perdure.Runtime(provider, app) as runtime:
            print("the worker runs; stop it with Ctrl-C", flush=True)
            await runtime.run_until_stopped()


asyncio.run(main())
