"""Jobs and CronJobs."""

from services.status.rules.diagnosis import HEALTHY, Diagnosis, Object, condition, holds, mapping, number, said


def job(obj: Object) -> Diagnosis:
    """Healthy while it runs, and when it is complete."""
    status = mapping(obj, "status")
    if holds(obj, "Failed"):
        return Diagnosis("Unhealthy", said(condition(obj, "Failed"), "the job failed"), ended="Failed")
    if holds(obj, "FailureTarget"):
        return Diagnosis("Unhealthy", said(condition(obj, "FailureTarget"), "the job failed"))
    if holds(obj, "Complete"):
        return Diagnosis("Healthy", f"{number(status, 'succeeded')} pods completed", ended="Succeeded")
    if mapping(obj, "spec").get("suspend") is True:
        return Diagnosis("Healthy", "suspended")
    if not status.get("startTime"):
        return Diagnosis("Progressing", "the job has not started")
    return Diagnosis("Healthy", f"{number(status, 'active')} pods are at work")


def cron_job(_obj: Object) -> Diagnosis:
    """There is nothing to wait for: its Jobs run on their own account."""
    return HEALTHY
