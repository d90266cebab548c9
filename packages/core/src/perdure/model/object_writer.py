"""Writes records as JSON objects by functions that are generated for their classes.

A step writes two events. Between a record and its text a dictionary would be made and read again,
which takes six times as long. What is written is, byte for byte, what `pydantic_core.to_json` makes
of that dictionary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from json.encoder import encode_basestring
from typing import Any, Final

_TEXTS: Final = frozenset({"str", "str | None"})
_NUMBERS: Final = frozenset({"int", "int | None", "Instant", "Instant | None"})


def object_writer(
    owner: Any, *, without: str, other: Callable[[Any], str]
) -> Callable[[Any], bytes]:
    """A function that writes a record of the class: its kind, then its fields but `without`.

    Fields that are None are left out. The annotations tell texts and numbers; `other` writes the
    values of fields of other types.
    """
    lines = ["def write(of):", f' text = f\'{{{{"kind":"{owner.__name__}"\'']
    for each in fields(owner):
        if each.name == without:
            continue
        name, annotation = f"of.{each.name}", str(each.type)
        if annotation in _TEXTS:
            value = f"quoted({name})"
        else:
            value = name if annotation in _NUMBERS else f"other({name})"
        written = f',"{each.name}":{{{value}}}\''
        if annotation.endswith("| None"):
            lines += (f" if {name} is not None:", f"  text += f'{written}")
        elif lines[-1].startswith("  "):
            lines.append(f" text += f'{written}")
        else:  # in one literal with the field before it
            lines[-1] = lines[-1][:-1] + written
    lines.append(" return (text + '}').encode()")
    names: dict[str, Any] = {"quoted": encode_basestring, "other": other}
    exec("\n".join(lines), names)  # noqa: S102 # made of the names of fields alone
    return names["write"]
