"""Files and services around a running node."""
