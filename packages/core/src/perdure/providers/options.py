"""Reading the options in a URL, and explaining errors in them.

An error shows the URL with its secrets hidden, and names the option and the valid ones. The loader
imports this module only when it opens a provider.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace
from typing import get_args

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError

from perdure.contract.url import ProviderUrl, masked
from perdure.errors import InvalidProviderOption


def read_options(
    model: type[BaseModel],
    from_url: Callable[[ProviderUrl], BaseModel],
    text: str,
    *,
    provider: str,
) -> BaseModel:
    """The options in the URL `text`, by the model's `from_url`.

    Raises `InvalidProviderOption`, whose message calls the provider by `provider`.
    """
    secrets = _secret_options(model)
    url = replace(ProviderUrl.parse(text), masked=masked(text, secrets=secrets))
    try:
        return from_url(url)
    except ValidationError as error:
        # Neither the error nor its text may be kept: both show the value, which may be a secret.
        message = _explain(model, error, secrets, provider, url.masked)
    raise InvalidProviderOption(message)


def _explain(
    model: type[BaseModel],
    error: ValidationError,
    secrets: frozenset[str],
    provider: str,
    shown_url: str,
) -> str:
    """The first error in the options, as a sentence."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    option = ".".join(str(part) for part in first["loc"])
    valid = ", ".join(field.alias or name for name, field in model.model_fields.items())
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(option, model.model_fields, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return (
            f"{shown_url!r} has the option {option!r}, which provider {provider} does not know;"
            f" {hint}valid are {valid}"
        )
    reason = "it is refused" if option in secrets else first["msg"].removeprefix("Value error, ")
    named = f"option {option!r}" if option else "the options"
    return (
        f"{shown_url!r} has a wrong value for {named} of provider {provider}: {reason};"
        f" correct it, valid options are {valid}"
    )


def _secret_options(model: type[BaseModel]) -> frozenset[str]:
    """The options whose type marks them as secret."""
    return frozenset(
        name
        for field_name, field in model.model_fields.items()
        if _mentions_secret(field.annotation)
        for name in (field_name, field.alias)
        if name is not None
    )


def _mentions_secret(annotation: object) -> bool:
    if annotation is SecretStr or annotation is SecretBytes:
        return True
    return any(_mentions_secret(part) for part in get_args(annotation))
