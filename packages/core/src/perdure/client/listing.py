"""Listing: finding instances by what they are, as infos."""

from __future__ import annotations

from perdure.client.any_loop import on_any_loop
from perdure.client.arguments import check_page_size, check_token
from perdure.client.info import InstanceInfo, instance_info
from perdure.client.instance_filter import InstanceFilter, query_of
from perdure.client.page import Page
from perdure.client.part import ClientPart
from perdure.records.limits import LISTING


class ListingClient(ClientPart):
    """The methods that find instances; they need the capability `listing`."""

    @on_any_loop
    async def list_instances(
        self,
        filter: InstanceFilter | None = None,
        *,
        limit: int | None = None,
        token: str | None = None,
    ) -> Page[InstanceInfo]:
        """A page of the instances that match, newest first.

        `limit` is 1 to 1000, by default 1000; `token` is the `next_token` of the previous page. A
        page costs a bounded amount, whatever is stored: it may have fewer instances, or none, and
        still have a token that leads on. An instance that matches throughout is on exactly one page.

        Raises `InvalidInput` for a filter, a limit or a token that does not fit.
        """
        admin = self._admin("list_instances", LISTING)
        query = query_of(filter)
        size = check_page_size(limit, "limit")
        check_token(token)
        page = await self._retried(lambda: admin.find_instances(query, limit=size, token=token))
        return Page(map(instance_info, page.instances), next_token=page.next_token)
