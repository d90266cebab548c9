"""A runtime does not begin to work where an activity needs a transaction that the storage has not."""

import perdure
import pytest
from perdure.errors import CapabilityMissing


async def test_a_transactional_activity_is_refused_by_name_where_the_storage_has_no_transactions():
    app = perdure.Registry()

    @app.activity(transactional=True)
    async def pay(number: str) -> None: ...

    async with perdure.open_provider("memory://") as provider:
        with pytest.raises(
            CapabilityMissing, match=r"'pay' at .*test_transactional_activities\.py"
        ):
            async with perdure.Runtime(provider, app):
                pass
