"""Jobs and CronJobs."""

from services.status.rules.finding import HEALTHY, Finding, Object, condition, holds, mapping, number, said


def job(obj: Object) -> Finding:
    """Healthy while it runs, and when it is complete."""
    status = mapping(obj, "status")
    for failed in ("Failed", "FailureTarget"):
        if holds(obj, failed):
            return Finding("Unhealthy", said(condition(obj, failed), "the job failed"))
    if holds(obj, "Complete"):
        return Finding("Healthy", f"{number(status, 'succeeded')} pods completed")
    if mapping(obj, "spec").get("suspend") is True:
        return Finding("Healthy", "suspended")
    if not status.get("startTime"):
        return Finding("Progressing", "the job has not started")
    return Finding("Healthy", f"{number(status, 'active')} pods are at work")


def cron_job(_obj: Object) -> Finding:
    """There is nothing to wait for: its Jobs run on their own account."""
    return HEALTHY
