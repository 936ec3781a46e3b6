"""The alerts and recording rules, as data with the cases that test them."""

from deployment.alerting.alert import Alert, Case, Fired, Limits, Recording
from deployment.alerting.book import Group, groups

__all__ = ["Alert", "Case", "Fired", "Group", "Limits", "Recording", "groups"]
