"""The commands that the runtime brings to `ark-run`; each module has HELP, `configure` and `run`."""
