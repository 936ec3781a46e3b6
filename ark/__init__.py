"""ARK: an actor runtime for trading agents."""

from ark.agent import Agent, Context, Durability, Effect, Hold
from ark.client import Client
from ark.errors import ArkError
from ark.ruling import Ruling
from ark.signal import Bar, Signal

__version__ = "0.1.0"

__all__ = ["Agent", "ArkError", "Bar", "Client", "Context", "Durability", "Effect", "Hold", "Ruling", "Signal"]
