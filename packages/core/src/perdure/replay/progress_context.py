"""The part of the context by which an orchestration shows where it stands: custom status and values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from perdure.model.payload import check_annotation, decode, encode
from perdure.model.shown import shown
from perdure.model.values import check_key, check_size
from perdure.replay.scheduling import SchedulingContext

if TYPE_CHECKING:
    from typing_extensions import TypeForm

R = TypeVar("R")


class ProgressContext(SchedulingContext):
    """The custom status and the values of the instance.

    What a turn sets is seen from outside when the turn is committed, and only then. On a provider
    without the capability `values` the methods raise `CapabilityMissing`.
    """

    __slots__ = ()

    def set_status(self, status: object) -> None:
        """Set the custom status, which stands beside the status of the instance for clients.

        The newest one counts, also after the end and over `continue_as_new`. Each call is an event of
        the history. `status` is anything that JSON carries, up to 64 KiB of text; raises
        `InvalidInput` above.
        """
        commands = self._commands
        commands.require_running("ctx.set_status")
        what = "the custom status"
        commands.progress.set_status(check_size(encode(status, what=what), what))

    def set_value(self, key: str, value: object) -> None:
        """Set a value of the instance, which clients read by its key, also after the end.

        Values outlive `continue_as_new`, and go with the instance. A key has 1 to 512 bytes of UTF-8, a
        value up to 64 KiB of JSON text, and an instance up to 256 of them; raises `InvalidInput`
        above. A change costs its own size, whatever other values there are.
        """
        commands = self._commands
        commands.require_running("ctx.set_value")
        what = f"value {shown(check_key(key))}"
        commands.progress.change(key, check_size(encode(value, what=what), what))

    def get_value(self, key: str, result_type: TypeForm[R] = Any) -> R | None:
        """A value of the instance, decoded as `result_type`; None if there is none.

        A value that an earlier execution has set is recorded when it is first read, so that it is the
        same in every replay. Raises `InvalidPayload` if it does not fit the type.
        """
        commands = self._commands
        commands.require_running("ctx.get_value")
        what = f"value {shown(check_key(key))}"
        check_annotation(result_type, f"result_type of {what}")
        text = commands.progress.read(key)
        return None if text is None else decode(text, result_type, what=what)

    def delete_value(self, key: str) -> None:
        """Delete a value of the instance; one that does not exist is no error."""
        commands = self._commands
        commands.require_running("ctx.delete_value")
        commands.progress.change(check_key(key), None)

    def values(self) -> dict[str, Any]:
        """All values of the instance as plain JSON values, by rising key."""
        commands = self._commands
        commands.require_running("ctx.values")
        texts = commands.progress.read_all()
        return {key: decode(text, Any, what=f"value {key!r}") for key, text in texts.items()}
