"""The untyped parts of an annotation: those that are `Any` or `object`.

They are found in the schema that pydantic makes of the annotation. A part that this module does not
know counts as typed, and is compared strictly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias, cast

Schema: TypeAlias = Mapping[str, Any]

_ANY: Schema = {"type": "any"}
_ALTERNATIVES = ("json_schema", "python_schema", "lax_schema", "strict_schema")
_FIELDS = ("model-fields", "dataclass-args", "typed-dict")
NO_SCHEMAS = frozenset({"default", "metadata", "serialization"})
"""The keys of a schema whose values are not schemas."""


class UntypedPart:
    """What a schema allows for one part of a value."""

    __slots__ = ("_definitions", "_schemas", "untyped")

    def __init__(self, schemas: Iterable[Schema], definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions
        self._schemas = _structures(schemas, definitions)
        self.untyped: bool = any(schema["type"] == "any" for schema in self._schemas)
        """Whether the part may decode to any JSON value."""

    def items(self) -> UntypedPart:
        """The part for the items of a list, a tuple or a set."""
        return self._place(_items)

    def extras(self) -> UntypedPart:
        """The part for extra fields of a model."""
        return self._place(_extras)

    def has_untyped_keys(self) -> bool:
        """Whether it is a dictionary with untyped keys."""
        return self._place(_keys).untyped

    def field(self, name: object) -> UntypedPart:
        """The part for a field."""
        return self._place(lambda schema: _field(schema, name))

    def entry(self, key: object) -> UntypedPart:
        """The part for the value of this key of a dictionary."""
        return self._place(lambda schema: (*_values(schema), *_field(schema, key)))

    def _place(self, inner: Callable[[Schema], Iterable[Schema]]) -> UntypedPart:
        found = (each for schema in self._schemas for each in inner(schema))
        return UntypedPart(found, self._definitions)


def untyped_part_of(schema: Schema) -> UntypedPart | None:
    """The part for the whole value; None if no part of it is untyped."""
    definitions = definitions_of(schema)
    return UntypedPart([schema], definitions) if mentions(schema, "any") else None


def definitions_of(schema: Schema) -> Mapping[str, Schema]:
    """The schemas that others refer to, by reference."""
    if schema["type"] != "definitions":
        return {}
    return {each["ref"]: each for each in schema["definitions"]}


def left_out(schema: Schema) -> frozenset[str]:
    """The fields that the author excludes by name."""
    return frozenset(
        name
        for structure in _structures([schema], definitions_of(schema))
        for name, field in fields_of(structure)
        if field.get("serialization_exclude") is True
    )


def _structures(schemas: Iterable[Schema], definitions: Mapping[str, Schema]) -> list[Schema]:
    """The schemas that describe the structure of a value, without their wrappers."""
    found: list[Schema] = []
    seen: set[int] = set()
    pending = list(schemas)
    while pending:
        schema = pending.pop()
        if id(schema) in seen:
            continue
        seen.add(id(schema))
        inner = list(_inside(schema, definitions))
        pending.extend(inner)
        if not inner:
            found.append(schema)
    return found


def _inside(schema: Schema, definitions: Mapping[str, Schema]) -> Iterator[Schema]:
    if schema["type"] == "definition-ref":
        if schema["schema_ref"] in definitions:
            yield definitions[schema["schema_ref"]]
    elif schema["type"] in ("union", "tagged-union"):
        choices: Any = schema["choices"]
        for choice in cast(
            "Iterable[Any]", choices.values() if hasattr(choices, "values") else choices
        ):
            yield choice[0] if isinstance(choice, tuple) else choice
    elif schema["type"] == "chain":
        yield from schema["steps"]
    elif schema["type"] == "call":
        yield schema["arguments_schema"]
    elif "schema" in schema:
        yield schema["schema"]
    else:
        yield from (schema[key] for key in _ALTERNATIVES if key in schema)


def _items(schema: Schema) -> Iterator[Schema]:
    kind = schema["type"]
    if kind in ("list", "set", "frozenset", "generator"):
        yield schema.get("items_schema", _ANY)
    elif kind == "tuple":
        yield from schema["items_schema"]
    elif kind == "arguments":  # a named tuple
        yield from (argument["schema"] for argument in schema["arguments_schema"])


def _values(schema: Schema) -> Iterator[Schema]:
    if schema["type"] == "dict":
        yield schema.get("values_schema", _ANY)


def _extras(schema: Schema) -> Iterator[Schema]:
    if schema["type"] in _FIELDS:
        yield schema.get("extras_schema", _ANY)


def _keys(schema: Schema) -> Iterator[Schema]:
    if schema["type"] == "dict":
        yield schema.get("keys_schema", _ANY)


def _field(schema: Schema, name: object) -> Iterator[Schema]:
    return (field["schema"] for known, field in fields_of(schema) if known == name)


def fields_of(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """The fields of a model, a dataclass or a typed dictionary; empty for other schemas."""
    if schema["type"] not in _FIELDS:
        return
    fields: Any = schema["fields"]
    if hasattr(fields, "items"):
        yield from cast("Mapping[str, Schema]", fields).items()
    else:
        yield from ((field["name"], field) for field in cast("Iterable[Schema]", fields))


def mentions(schema: Schema, *kinds: str) -> bool:
    """Whether any part of the schema is of one of these kinds; an untyped part is `any`."""
    pending: list[object] = [schema]
    while pending:
        part = pending.pop()
        if isinstance(part, Mapping):
            mapping = cast("Schema", part)
            if mapping.get("type") in kinds or ("any" in kinds and _leaves_open(mapping)):
                return True
            pending.extend(value for key, value in mapping.items() if key not in NO_SCHEMAS)
        elif isinstance(part, list | tuple):
            pending.extend(cast("list[object]", part))
    return False


def _leaves_open(schema: Schema) -> bool:
    """Whether it is a collection or a class with extra fields whose items have no type."""
    kind = schema.get("type")
    if kind in ("list", "set", "frozenset"):
        return "items_schema" not in schema
    if kind == "dict":
        return not {"keys_schema", "values_schema"} <= schema.keys()
    return "allow" in (schema.get("extra_behavior"), schema.get("extra_fields_behavior"))
