"""Every error that ARK raises on purpose, each with a stable code and a hint that says what to do next."""

from __future__ import annotations

__all__ = [
    "AgentError",
    "ArkError",
    "AuthenticationError",
    "BootError",
    "ClientKeyError",
    "ConfigError",
    "FlagError",
    "JournalError",
    "MessageError",
    "NodeError",
    "ProposalError",
    "RequestError",
    "StateError",
    "RoutingError",
    "StorageError",
]


class ArkError(Exception):
    """Base of all errors that a caller or an operator can do something about.

    Args:
        message: What is wrong, in one line.
        hint: What to do next; may be empty.
        field: The field of a message or a setting that is wrong, if there is one.
    """

    code = "error"

    def __init__(self, message: str, *, hint: str = "", field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.field = field

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    @property
    def line(self) -> str:
        """The error in one line for people, with the field that it is about unless the message names it."""
        named = not self.field or self.field in str(self)
        return str(self) if named else f"{self} [{self.field}]"


class ConfigError(ArkError):
    """A setting is unknown, of the wrong type, or out of bounds."""

    code = "config"


class MessageError(ArkError):
    """Bytes or fields that do not make a valid message."""

    code = "invalid"


class RequestError(ArkError):
    """A request that the front door refused; `code` is the reply's own code."""

    def __init__(self, message: str, *, code: str, field: str | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint, field=field)
        self.code = code


class AuthenticationError(ArkError):
    """A tag, an approval or a frame that is not from whom it claims to be."""

    code = "authentication"


class ClientKeyError(ArkError):
    """A client's key that cannot be made, found, read or revoked."""

    code = "key"


class JournalError(ArkError):
    """A journal that cannot be opened, read or written."""

    code = "journal"


class StorageError(JournalError):
    """A file that is damaged, has vanished, or cannot be written: the disk's fault, and no defect of who met it.

    Args:
        message, hint: As in `ArkError`.
        damaged: Whether what was kept is lost or in doubt, so that nobody should trade on it.
    """

    code = "storage"

    def __init__(self, message: str, *, hint: str = "", damaged: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.damaged = damaged


class StateError(ArkError):
    """A change that the Mutable Core cannot keep, or a revision that there is not."""

    code = "state"


class FlagError(ArkError):
    """A file with feature flags that does not count, or a flag that cannot be."""

    code = "flag"


class NodeError(ArkError):
    """The node is not there, already there, or did not do as told."""

    code = "node"


class BootError(ArkError):
    """A process cannot start at all, so that trying again would not help."""

    code = "boot"


class AgentError(ArkError):
    """An agent broke the contract of `ark.Agent`."""

    code = "agent"


class ProposalError(ArkError):
    """What an arm proposes may not be done: nobody approved it, or the rule book forbids it."""

    code = "proposal"


class RoutingError(ArkError):
    """A routing table that cannot be read."""

    code = "routing"
