"""Who is let in, what changes something, and that nothing that is stored can do either."""

from __future__ import annotations

import re

import httpx2
import perdure
import pytest
from perdure.errors import InvalidInput
from perdure_console.web import Settings

from .conftest import HOSTILE

TOKEN = "0123456789abcdef"  # noqa: S105 # of a page in this test


def token_of(answer: httpx2.Response) -> str:
    return re.findall(r'name="form_token" value="(\w+)"', answer.text)[0]


async def form_of(client: httpx2.AsyncClient, **fields: object) -> dict[str, object]:
    page = await client.get("/instance?id=order-2")
    return {"form_token": token_of(page), "id": "order-2", **fields}


async def test_a_button_works_once_the_page_was_rendered(site, provider) -> None:
    async with site() as client:
        form = await form_of(
            client, action="raise", name="go", data="1", back="/instance?id=order-2"
        )
        done = await client.post("/act", data=form)

        assert (done.status_code, done.headers["location"]) == (303, "/instance?id=order-2")
        assert "go was raised to order-2." in (await client.get(done.headers["location"])).text
        assert "was raised" not in (await client.get(done.headers["location"])).text


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_a_form_from_another_origin_is_refused(site, provider, headers) -> None:
    async with site() as client:
        form = await form_of(client, action="cancel", confirmed="yes")
        refused = await client.post("/act", data=form, headers=headers)

    assert (refused.status_code, refused.text) == (403, "the request comes from another site\n")
    assert "location" not in refused.headers


async def test_a_form_without_its_token_or_with_that_of_another_browser_is_refused(site) -> None:
    async with site() as client, site() as other:
        form = await form_of(client, action="cancel", confirmed="yes")
        stolen = {**form, "form_token": token_of(await other.get("/instance?id=order-2"))}

        for wrong in ({**form, "form_token": ""}, {**form, "form_token": "é"}, stolen):
            assert (await client.post("/act", data=wrong)).status_code == 403
        client.cookies.clear()
        assert (await client.post("/act", data=form)).status_code == 403


async def test_other_methods_and_other_bodies_are_refused(site) -> None:
    async with site() as client:
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
            assert (await client.request(method, "/act")).status_code == 405
        assert (await client.get("/act")).status_code == 405
        assert (await client.post("/")).status_code == 405
        assert (await client.post("/act", json={"action": "delete"})).status_code == 400
        assert (await client.get("/nowhere")).status_code == 404


async def test_a_page_without_logins_is_for_this_machine_alone(site) -> None:
    async with site(peer="192.0.2.7") as client:
        assert (await client.get("/")).status_code == 403
    async with site(host="evil.example") as client:  # whose name points at 127.0.0.1
        refused = await client.get("/static/console.css")
        assert (refused.status_code, "no name of this machine" in refused.text) == (403, True)
    for host in ("localhost:8080", "[::1]:8080"):
        async with site(host=host) as client:
            assert (await client.get("/")).status_code == 200


async def test_people_log_in_with_the_token_and_programs_send_it(site) -> None:
    async with site(token=TOKEN, peer="192.0.2.7", host="shop.example") as client:
        sent_away = await client.get("/")
        assert (sent_away.status_code, sent_away.headers["location"]) == (303, "/login")
        assert (await client.post("/act", data={"action": "delete"})).status_code == 401
        assert (await client.get("/static/console.css")).status_code == 200
        assert (await client.get("/static/../login")).status_code in (200, 404)
        page = await client.get("/login")
        wrong = {"form_token": token_of(page), "token": "wrong"}
        assert (await client.post("/login", data=wrong)).status_code == 403
        right = {"form_token": token_of(page), "token": TOKEN}
        assert (await client.post("/login", data=right)).status_code == 303
        assert (await client.get("/")).status_code == 200
        assert TOKEN not in "".join(client.cookies.values())
        client.cookies.clear()
        bearer = {"authorization": f"Bearer {TOKEN}"}
        assert (await client.get("/", headers=bearer)).status_code == 200
        assert (await client.get("/", headers={"authorization": "Bearer x"})).status_code == 303


async def test_a_proxy_or_the_application_around_may_let_people_in(site) -> None:
    async with site(user_header="X-User", peer="192.0.2.7") as client:
        assert (await client.get("/")).status_code == 401
        assert (await client.get("/", headers={"x-user": "ines"})).status_code == 200

    async def is_ines(request) -> bool:
        return request.headers.get("x-user") == "ines"

    async with site(authorize=is_ines, peer="192.0.2.7") as client:
        assert (await client.get("/", headers={"x-user": "olaf"})).status_code == 401
        assert (await client.get("/", headers={"x-user": "ines"})).status_code == 200


def test_a_short_token_is_refused() -> None:
    with pytest.raises(InvalidInput, match="has 5 characters; use 16 or more"):
        Settings(token="short")  # noqa: S106 # which is refused


async def test_a_page_that_only_reads_has_no_button_and_changes_nothing(site, provider) -> None:
    async with site() as client:
        form = await form_of(client, action="cancel", confirmed="yes")
    async with site(read_only=True) as client:
        for path in ("/", "/instance?id=order-1", "/instance?id=order-1&view=history"):
            text = (await client.get(path)).text
            assert 'method="post" action="/act"><' not in text
            assert "<button name=" not in text
        refused = await client.post("/act", data=form)

    assert (refused.status_code, "only reads" in refused.text) == (403, True)
    status = await perdure.Client(provider).get_orchestration_status("order-2")
    assert isinstance(status, perdure.Running)


PATHS = (
    "/",
    "/health",
    "/instance?id=order-1",
    *(f"/instance?id=order-2&view={view}" for view in ("history", "tree", "executions")),
)


async def test_what_is_stored_is_shown_as_text(site) -> None:
    async with site() as client:
        texts = [(await client.get(path)).text for path in PATHS]
        texts.append((await client.get("/instance", params={"id": f"x/../{HOSTILE}"})).text)
        texts.append((await client.get("/instance", params={"id": HOSTILE})).text)
        texts.append((await client.get("/", params={"prefix": HOSTILE, "label": HOSTILE})).text)

    for text in texts:
        assert "<script>" not in text
        assert not re.search(r"\s(on\w+|style)=", text)
    assert "document.title=&#34;hacked&#34;" in texts[2]


async def test_payloads_are_hidden_on_request_everywhere(site) -> None:
    async with site(hide_payloads=True) as client:
        for path in PATHS[1:]:
            assert "hacked" not in (await client.get(path)).text, path
        assert '<td class="says wide"></td>' in (await client.get("/")).text
        assert "hidden, " in (await client.get("/instance?id=order-2")).text


async def test_every_answer_forbids_foreign_scripts_frames_and_caches(site) -> None:
    async with site() as client:
        for path in (*PATHS, "/static/console.js", "/nowhere"):
            headers = (await client.get(path)).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert headers["x-content-type-options"] == "nosniff"
        assert (await client.get("/")).headers["cache-control"] == "no-store"
        cookies = (await client.get("/login")).headers.get_list("set-cookie")
        assert all("HttpOnly" in each and "SameSite=Strict" in each for each in cookies)


async def test_a_form_never_leads_to_another_site(site) -> None:
    async with site() as client:
        for back in ("//evil.example", "https://evil.example", "/\\evil.example", "/\r\nx: y", ""):
            form = await form_of(client, action="retry", back=back)
            assert (await client.post("/act", data=form)).headers["location"] == "/"


async def test_a_mounted_page_keeps_its_links_below_its_path(site) -> None:
    async with site(mounted="/perdure") as client:
        page = await client.get("/perdure/instance?id=order-2")
        links = re.findall(r'(?:href|src|action|data-live)="(/[^"]*)"', page.text)
        assert len(links) > 10
        assert [link for link in links if not link.startswith("/perdure/")] == []
        form = {"form_token": token_of(page), "id": "order-2", "action": "raise", "name": "go"}
        done = await client.post(
            "/perdure/act", data={**form, "back": "/perdure/instance?id=order-2"}
        )
        assert done.headers["location"] == "/perdure/instance?id=order-2"
        assert "go was raised" in (await client.get(done.headers["location"])).text


async def test_no_secret_of_the_url_is_shown(site, provider) -> None:
    provider.description = "dynamodb://Table?region=eu"
    async with site() as client:
        assert "dynamodb://Table?region=eu" in (await client.get("/")).text
