"""Joey, but more patient: a pattern must be surer before it becomes a plan."""

import msgspec

from actors.joey import Joey
from ark import Context

LEAST = 0.7


class PatientJoey(Joey):
    def setup(self, context: Context) -> None:
        super().setup(context)
        least = max(LEAST, self._settings.min_confidence)
        self._settings = msgspec.structs.replace(self._settings, min_confidence=least)
