"""Joey, but more cautious: a plan of his own takes less of the account. What a sender names himself stands."""

import msgspec

from actors.joey import Joey
from actors.messages import Case
from ark import Context

LARGEST = 0.04
"""The largest share of equity that a plan of his own takes."""


class CautiousJoey(Joey):
    def handle(self, message: Case, context: Context) -> Case:
        answer = super().handle(message, context)
        setup = answer.setup
        if setup is None or setup.position_size_pct is None or answer.signal.position_size_pct is not None:
            return answer
        size = min(setup.position_size_pct, LARGEST)
        return msgspec.structs.replace(answer, setup=msgspec.structs.replace(setup, position_size_pct=size))
