"""What the trading agents add to `ark-run`."""
