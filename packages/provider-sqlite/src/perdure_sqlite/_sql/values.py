"""Statements about the values and the custom status of an instance."""

from __future__ import annotations

from typing import Final

from sqlalchemy import delete, insert, select, update

from perdure_sqlite._schema.tables import custom_statuses, instance_values, instances
from perdure_sqlite._sql.render import constant, given, render, render_insert

_has_number = instances.c.number == given("which")
_of_instance = instance_values.c.instance == given("instance")
_is_value = instance_values.c.key == given("key")

SET_CUSTOM_STATUS: Final = render(
    insert(custom_statuses).prefix_with("OR REPLACE"), "instance", "data"
)
COUNT_CUSTOM_STATUS: Final = render(
    update(instances)
    .where(_has_number)
    .values(custom_status_version=instances.c.custom_status_version + constant(1)),
    "which",
)

ADD_VALUE: Final = render_insert(instance_values, "instance", "key", "data")
REMOVE_VALUE: Final = render(
    delete(instance_values).where(_of_instance, _is_value), "instance", "key"
)
COUNT_VALUES: Final = render(
    update(instances)
    .where(_has_number)
    .values(value_count=instances.c.value_count + given("more")),
    "more",
    "which",
)

FIND_WITH_VALUES: Final = render(
    select(
        instances.c.number,
        instances.c.incarnation,
        instances.c.last_commit,
        instances.c.value_count,
    ).where(instances.c.namespace == given("namespace"), instances.c.id == given("id")),
    "namespace",
    "id",
)
READ_VALUES: Final = render(
    select(instance_values.c.key, instance_values.c.data)
    .where(_of_instance)
    .order_by(instance_values.c.key),
    "instance",
)
READ_VALUE: Final = render(
    select(instance_values.c.key, instance_values.c.data).where(_of_instance, _is_value),
    "instance",
    "key",
)
