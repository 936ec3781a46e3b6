"""The commands that deployment brings to `ark-run`."""
