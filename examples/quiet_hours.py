"""Quiet hours: at certain hours (UTC) nothing is done about a symbol."""

from time import gmtime

import msgspec

from actors.messages import Case
from ark import Agent, Context


class QuietHours(Agent[Case]):
    takes = Case

    def handle(self, message: Case, context: Context) -> Case:
        quiet = context.settings.get(message.signal.symbol, ())
        if gmtime(context.now()).tm_hour in quiet:
            return msgspec.structs.replace(message, setup=None)
        return message
