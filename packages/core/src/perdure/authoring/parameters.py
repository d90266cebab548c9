"""What a function takes, and how the arguments of a call become its payload and come back.

A function without parameters has the payload `null`, one with a single parameter the value of it,
and one with several an object with a value by each parameter's name. An argument that a call
leaves out is not stored: the parameter takes its default whenever the function is called.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from perdure.errors import InvalidPayload
from perdure.model.hidden_payload import HIDDEN, HiddenValue
from perdure.model.payload import NULL, decode, encode
from perdure.model.shown import shown

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

Arguments = tuple[tuple[object, ...], Mapping[str, object]]
"""Those by position, and those by name."""

_NOTHING: Arguments = ((), {})


class Parameters:
    """The parameters of one function, the context of an orchestration left out."""

    __slots__ = ("_by_name", "_has_default", "_signature", "payload_type", "types")

    def __init__(
        self, parameters: Sequence[inspect.Parameter], types: Mapping[str, object]
    ) -> None:
        """Parameters without `*` and `**`; `types` has their annotations by name."""
        self.types = {each.name: types.get(each.name, Any) for each in parameters}
        """Their annotations by their names, in the order of the signature."""
        bare = [each.replace(annotation=each.empty) for each in parameters]
        self._signature = inspect.Signature(bare)
        single = parameters[0] if len(parameters) == 1 else None
        self._by_name = single is not None and single.kind is single.KEYWORD_ONLY
        self._has_default = single is not None and single.default is not single.empty
        self.payload_type = (
            _object_type(parameters, self.types)
            if len(parameters) > 1
            else next(iter(self.types.values()), None)
        )
        """What the payload is decoded as; None for a function without parameters."""

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in the order of the signature."""
        return tuple(self.types)

    @property
    def first_is_optional(self) -> bool:
        """Whether a call may do without a first argument: it has a default, or there is none."""
        first = next(iter(self._signature.parameters.values()), None)
        return first is None or first.default is not first.empty

    def encode(self, args: tuple[object, ...], kwargs: Mapping[str, object], function: str) -> str:
        """The payload of a call with these arguments, as JSON text.

        Raises `InvalidPayload` where they do not fit; `function` names it in the message.
        """
        if len(self.types) == 1:
            if len(args) == 1 and not kwargs and not self._by_name:
                return encode(args[0], self.payload_type, what=f"input of {function}")
            bound = self._bind(args, kwargs, function)
            if not bound:
                return NULL
            (value,) = bound.values()
            return encode(value, self.payload_type, what=f"input of {function}")
        if not self.types:
            if kwargs or args not in ((), (None,)):
                named = [f"{name}={shown(value)}" for name, value in kwargs.items()]
                raise _takes_none(function, ", ".join([*map(shown, args), *named]))
            return NULL
        bound = self._bind(args, kwargs, function)
        if any(type(value) is HiddenValue for value in bound.values()):
            return HIDDEN
        return encode(bound, self.payload_type, what=f"input of {function}")

    def encode_payload(self, payload: object, function: str) -> str:
        """A payload as JSON text: the value of one parameter, or a dictionary by several names.

        None stands for no input. Raises `InvalidPayload` where it does not fit.
        """
        if payload is None and self.first_is_optional:
            return NULL
        if not self.types:
            raise _takes_none(function, shown(payload))
        return encode(payload, self.payload_type, what=f"input of {function}")

    def decode(self, text: str, function: str) -> Arguments:
        """The arguments to call the function with, made of a payload.

        Raises `InvalidPayload` where the payload does not fit.
        """
        if not self.types:
            if text.strip() != NULL:
                # The text is not shown: this message is recorded, and the text may be a secret.
                raise _takes_none(function, "one")
            return _NOTHING
        if len(self.types) == 1:
            if self._has_default and text.strip() == NULL:
                return _NOTHING
            value = decode(text, self.payload_type, what=f"input of {function}")
            return ((), {self.names[0]: value}) if self._by_name else ((value,), {})
        given = "{}" if text.strip() == NULL else text
        values = decode(given, self.payload_type, what=f"input of {function}")
        if type(values) is HiddenValue:
            values = {name: HiddenValue() for name in self.types}
        return (), values

    def _bind(
        self, args: tuple[object, ...], kwargs: Mapping[str, object], function: str
    ) -> dict[str, object]:
        try:
            return self._signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise InvalidPayload(
                f"{function} takes {self}, and the call does not fit: {error}; pass what it takes"
            ) from None

    def __str__(self) -> str:
        """As a signature, without annotations and without the values of defaults."""
        shown = [
            each if each.default is each.empty else each.replace(default=_A_DEFAULT)
            for each in self._signature.parameters.values()
        ]
        return str(inspect.Signature(shown))


class _Default:
    """Stands for a default, which may be long or a secret."""

    def __repr__(self) -> str:
        return "…"


_A_DEFAULT = _Default()


def _object_type(
    parameters: Sequence[inspect.Parameter], types: Mapping[str, object]
) -> type[object]:
    """A type for pydantic: an object with exactly these names, those with a default optional."""

    def schema(cls: type, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema  # with the first use of pydantic, not at the import

        return core_schema.typed_dict_schema(
            {
                parameter.name: core_schema.typed_dict_field(
                    handler.generate_schema(types[parameter.name]),
                    required=parameter.default is parameter.empty,
                )
                for parameter in parameters
            },
            extra_behavior="forbid",
        )

    name = f"({', '.join(parameter.name for parameter in parameters)})"
    members = {"__get_pydantic_core_schema__": classmethod(cast("Any", schema))}
    return type(name, (), members)


def _takes_none(function: str, given: str) -> InvalidPayload:
    return InvalidPayload(f"{function} takes no input, and {given} was passed; leave it out")
