"""Schedules: which deployments run by themselves, and when."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule


@dataclass(frozen=True)
class Timetable:
    """When a deployment runs by itself.

    Args:
        slug: Name of the schedule in the deployment.
        cron: Cron expression (UTC), or ''.
        seconds: Interval where there is no cron expression.
        parameters: Parameters of the runs it starts.
    """

    slug: str
    cron: str = ""
    seconds: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def create(self) -> DeploymentScheduleCreate:
        """Give it as Prefect's client wants it."""
        when = (
            CronSchedule(cron=self.cron, timezone="UTC")
            if self.cron
            else IntervalSchedule(interval=timedelta(seconds=self.seconds))
        )
        return DeploymentScheduleCreate(
            schedule=when, active=True, slug=self.slug, parameters=dict(self.parameters)
        )

    def as_yaml(self) -> dict[str, Any]:
        """Give it as prefect.yaml has it."""
        when = {"cron": self.cron, "timezone": "UTC"} if self.cron else {"interval": self.seconds}
        parameters = {"parameters": dict(self.parameters)} if self.parameters else {}
        return {"slug": self.slug, **when, "active": True, **parameters}


TIMETABLES = {
    "back_up_database": Timetable("nightly", cron="17 2 * * *", parameters={"target": "sandbox"}),
    "clean_up_backups": Timetable("daily", cron="47 4 * * *", parameters={"target": "sandbox"}),
    "reap_remediations": Timetable("each-minute", seconds=60),
    "vacuum_database": Timetable("weekly", cron="23 3 * * 0", parameters={"target": "sandbox"}),
}
ONE_AT_A_TIME = ("reap_remediations",)
