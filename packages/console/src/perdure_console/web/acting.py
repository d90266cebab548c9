"""What the buttons do. What cannot be undone is asked for once more on a page of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import urlencode

from perdure import Client, EventArrival
from perdure.errors import InvalidInput, PerdureError, ProviderError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from perdure_console.web.forms import Form, read_form
from perdure_console.web.guard import is_form_token
from perdure_console.web.pages import Pages

_REASON: Final = "requested on the web page"
_MOST: Final = 1000
"""Of ids in one request."""
_CARRIED: Final = ("reason", "event", "execution", "back")
"""What the page that asks carries on."""

Act: TypeAlias = Callable[[Client, str, Form], Awaitable[str]]
"""Acts on one instance, with the fields of the form; returns what was done, in words."""


@dataclass(frozen=True, slots=True)
class Action:
    """Something that a button does to an instance, or to several."""

    act: Act
    question: str = ""
    """What is asked before; empty: nothing."""
    leads_elsewhere: bool = False
    """Whether the instance is gone afterwards."""


async def act(pages: Pages, request: Request) -> Response:
    """Carry out the form, and go back to where it was sent from; or ask first."""
    form = await read_form(request)
    if not is_form_token(request, pages.settings, form.get("form_token")):
        said = {
            "title": "Not done",
            "problem": "the form is too old, or another site has sent it; go back and reload",
            "live": None,
        }
        return pages.render(request, "problem.html", said, status=403)
    chosen = form.get("action")
    action = ACTIONS.get(chosen)
    instances = [each for each in form.all("id") if each][:_MOST]
    root = str(request.scope.get("root_path", ""))
    back = _safe(form.get("back"), root)
    if action is None or not instances:
        response = RedirectResponse(back, 303)
        pages.say(response, request, "Nothing is selected.", is_bad=True)
        return response
    if action.question and form.get("confirmed") != "yes":
        return pages.render(
            request,
            "confirm.html",
            {
                "title": "Sure?",
                "question": action.question,
                "instances": instances,
                "action": chosen,
                "fields": [each for each in form.items() if each[0] in _CARRIED],
                "back": back,
                "live": None,
            },
        )
    done, refused = await _carry_out(pages.client, action, instances, form)
    leaves = action.leads_elsewhere and not refused and len(instances) == 1
    target = f"{root}/" if leaves and "/instance?" in back else back
    if chosen == "fork" and not refused:
        target = f"{root}/instance?{urlencode({'id': form.get('new')})}"
    response = RedirectResponse(target, 303)
    pages.say(response, request, _in_words(done, refused), is_bad=bool(refused))
    return response


async def _carry_out(
    client: Client, action: Action, instances: list[str], form: Form
) -> tuple[list[str], list[str]]:
    done: list[str] = []
    refused: list[str] = []
    for instance in instances:
        try:
            done.append(await action.act(client, instance, form))
        except ProviderError as error:
            refused.append(str(error))
            if error.retryable:
                break  # the storage does not answer; the others would wait for it, too
        except PerdureError as error:
            refused.append(str(error))
    return done, refused


def _in_words(done: list[str], refused: list[str]) -> str:
    if len(done) == 1 and not refused:
        return f"{done[0]}."
    parts = [f"{len(done)} done."] if done else []
    if refused:
        parts.append(f"{len(refused)} not done: {'; '.join(refused[:3])}.")
    return " ".join(parts)


async def _retry(client: Client, instance: str, form: Form) -> str:
    execution = await client.retry_instance(instance, reason=form.get("reason") or _REASON)
    return f"{instance} runs again, as execution {execution}"


async def _cancel(client: Client, instance: str, form: Form) -> str:
    await client.cancel_instance(instance, form.get("reason") or _REASON)
    return f"{instance} is asked to end"


async def _terminate(client: Client, instance: str, form: Form) -> str:
    ended = await client.terminate_instance(instance, form.get("reason") or _REASON)
    return f"{instance} {'was terminated' if ended else 'had ended before'}"


async def _delete(client: Client, instance: str, form: Form) -> str:
    del form
    count = await client.delete_instance(instance)
    return f"{instance} was deleted, {count} in all" if count else f"{instance} was gone before"


async def _raise(client: Client, instance: str, form: Form) -> str:
    name, data = form.get("name"), form.get("data").strip()
    if not name:
        raise InvalidInput("the event has no name")
    arrival = await client.raise_event(instance, name, data or None)
    late = "; it had ended, so the event is ignored" if arrival is EventArrival.LATE else ""
    return f"{name} was raised to {instance}{late}"


async def _rewind(client: Client, instance: str, form: Form) -> str:
    execution = await client.rewind_instance(
        instance,
        to_event=_number(form, "event"),
        execution=_number(form, "execution"),
        reason=form.get("reason") or _REASON,
    )
    return f"{instance} runs again, as execution {execution}"


async def _fork(client: Client, instance: str, form: Form) -> str:
    new = form.get("new")
    await client.fork_instance(
        instance,
        new,
        to_event=_number(form, "event") if form.get("event") else None,
        execution=_number(form, "execution") if form.get("execution") else None,
        reason=form.get("reason") or _REASON,
    )
    return f"{new} runs, as a copy of {instance}"


ACTIONS: Final[Mapping[str, Action]] = {
    "retry": Action(_retry),
    "cancel": Action(_cancel, question="Ask to end, with cleanup?"),
    "terminate": Action(_terminate, question="End at once, without cleanup?"),
    "delete": Action(_delete, question="Delete for ever, with all children?", leads_elsewhere=True),
    "raise": Action(_raise),
    "rewind": Action(
        _rewind, question="Run again from this event? What came later is left behind."
    ),
    "fork": Action(_fork),
}


def _number(form: Form, name: str) -> int:
    text = form.get(name)
    if not text.isdecimal() or len(text) > 18:
        raise InvalidInput(f"{name} {text!r} is no number")
    return int(text)


def _safe(back: str, root: str) -> str:
    """A path of this page alone: a form must not lead to another site."""
    is_path = back.startswith(f"{root}/") and not back.startswith("//") and "\\" not in back
    return back if is_path and back.isprintable() else f"{root}/"
