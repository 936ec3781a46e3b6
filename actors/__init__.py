"""The trading agents, from signal to audit: Kyle, Joey, HRM, Kenny, Aletheia."""
