"""The supervision tree, the Watchdog, and the `supervisor` command."""
