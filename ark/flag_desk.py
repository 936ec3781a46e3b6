"""Feature flags for agents, through OpenFeature: a provider over the signed file, and what a context asks.

OpenFeature is the interface that flags have everywhere: whoever wants another provider, hooks or telemetry sets
them there (`openfeature.api`), in the domain of the agent's name. It is imported when an agent asks for its first
flag.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEventDetails
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata

from ark.flag_file import FlagFile
from ark.flags import Body, Subject, decide
from ark.home import Home

__all__ = ["FileProvider", "FlagDesk"]

Asked = TypeVar("Asked", bool, int, float, str)

_REASONS = {
    "rule": Reason.TARGETING_MATCH,
    "percentage": Reason.SPLIT,
    "value": Reason.STATIC,
    "default": Reason.DEFAULT,
}


class FileProvider(AbstractProvider):
    """OpenFeature's provider over the signed file of a home.

    Args:
        home: Whose.
        changed: Called with what is in force from now on.
        refused: Called once for each new reason why the file does not count.
    """

    def __init__(
        self,
        home: Home,
        *,
        changed: Callable[[Body], None] = lambda body: None,
        refused: Callable[[str], None] = lambda fault: None,
    ) -> None:
        super().__init__()
        self._changed = changed
        self._refused = refused
        self._flags = FlagFile(home, accepted=self._take, refused=self._refuse)

    def get_metadata(self) -> Metadata:
        """The provider's name."""
        return Metadata(name="ark signed file")

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        """Read the file, before anything is evaluated."""
        self._flags.current()

    @property
    def body(self) -> Body | None:
        """What is in force."""
        return self._flags.current()

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        """What a flag says that is on or off."""
        return self._resolve(flag_key, default_value, (bool,), evaluation_context)

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """What a flag says that is a text."""
        return self._resolve(flag_key, default_value, (str,), evaluation_context)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """What a flag says that is a whole number."""
        return self._resolve(flag_key, default_value, (int,), evaluation_context)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """What a flag says that is a number."""
        return self._resolve(flag_key, default_value, (int, float), evaluation_context)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """No flag in the file is a map or a list."""
        return FlagResolutionDetails(
            default_value, ErrorCode.TYPE_MISMATCH, "the file has no maps and lists", Reason.ERROR
        )

    def _resolve(
        self,
        name: str,
        default: Asked,
        kinds: tuple[type, ...],
        context: EvaluationContext | None,
    ) -> FlagResolutionDetails[Asked]:
        body = self._flags.current()
        flag = None if body is None else body.flags.get(name)
        if flag is None:
            return FlagResolutionDetails(
                default, ErrorCode.FLAG_NOT_FOUND, f"there is no flag {name}", Reason.ERROR
            )
        answer = decide(name, flag, _subject(context))
        value: Any = answer.value
        if value is None:
            return FlagResolutionDetails(default, reason=Reason.DEFAULT)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            return FlagResolutionDetails(
                default, ErrorCode.TYPE_MISMATCH, f"flag {name} says {value!r}", Reason.ERROR
            )
        variant = f"rule {answer.rule}" if answer.rule else "value"
        if kinds == (int, float):
            value = float(answer.value)  # type: ignore[arg-type]
        return FlagResolutionDetails(value, reason=_REASONS[answer.reason], variant=variant)

    def _take(self, body: Body) -> None:
        self.emit_provider_ready(ProviderEventDetails())
        self.emit_provider_configuration_changed(ProviderEventDetails(flags_changed=sorted(body.flags)))
        self._changed(body)

    def _refuse(self, fault: str) -> None:
        self.emit_provider_stale(ProviderEventDetails(message=fault))
        self._refused(fault)


class FlagDesk:
    """What an agent's context asks.

    Args:
        domain: OpenFeature's name for who asks: the agent's.
        provider: Set, and waited for: what is asked before a provider is ready gets the default.
    """

    def __init__(self, domain: str, provider: FileProvider) -> None:
        api.set_provider_and_wait(provider, domain)
        self._client = api.get_client(domain)

    def value(self, name: str, default: Asked, subject: Subject) -> Asked:
        """What a flag says, of the default's type; the default where it says nothing of that type."""
        context = EvaluationContext(
            subject.symbol or subject.agent,
            {
                "agent": subject.agent,
                "release": subject.release,
                "symbol": subject.symbol,
                "trace_id": subject.trace_id,
            },
        )
        match default:
            case bool():
                return self._client.get_boolean_value(name, default, context)
            case str():
                return self._client.get_string_value(name, default, context)
            case int():
                return self._client.get_integer_value(name, default, context)
            case _:
                return self._client.get_float_value(name, default, context)


def _subject(context: EvaluationContext | None) -> Subject:
    known: Mapping[str, Any] = {} if context is None else context.attributes
    return Subject(*(str(known.get(name, "")) for name in ("agent", "release", "symbol", "trace_id")))
