"""The settings of the status worker."""

from typing import Annotated, Literal

from msgspec import Meta

from services.status.health import Thresholds
from shared.process.settings import HubSettings


class StatusSettings(HubSettings, frozen=True, kw_only=True):
    """The settings of the status worker."""

    write_seconds: Annotated[
        float,
        Meta(
            description="Least seconds between two writes of one Placement's status, but for what is waited for: that "
            "it is decided or refused, Ready or not, or Degraded.",
            ge=0,
        ),
    ] = 1.0
    count_seconds: Annotated[
        float,
        Meta(description="Least seconds between two writes of one policy's counts, if nothing else changes.", ge=0),
    ] = 30.0
    stale_seconds: Annotated[
        float, Meta(description="Seconds without news from a target after which what runs there is Unknown.", gt=0)
    ] = 300.0
    stale_check_seconds: Annotated[
        float, Meta(description="How often targets without news are looked for, in seconds.", gt=0)
    ] = 15.0
    unseen_seconds: Annotated[
        float,
        Meta(description="Seconds after which what was applied, and is not seen in its target, counts as gone.", gt=0),
    ] = 60.0
    workload_status: Annotated[
        Literal["Auto", "Always", "Never"],
        Meta(
            description="Whether a workload's own object on the hub shows its replicas and conditions, summed over the"
            " targets. Auto: on kcp, where nobody else writes its status; on Kubernetes kube-controller-manager does."
        ),
    ] = "Auto"
    unhealthy_share: Annotated[
        float,
        Meta(description="Share of unhealthy objects (or targets) from which the whole is Unhealthy.", ge=0, le=1),
    ] = 0.3
    ready_unhealthy_share: Annotated[
        float, Meta(description="Share of ready replicas below which the whole is Unhealthy.", ge=0, le=1)
    ] = 0.5
    ready_degraded_share: Annotated[
        float, Meta(description="Share of ready replicas below which the whole is Degraded.", ge=0, le=1)
    ] = 0.9
    stale_share: Annotated[
        float,
        Meta(description="Share of objects (or targets) without news from which the whole is Unknown.", gt=0, le=1),
    ] = 0.5

    @property
    def promotes(self) -> bool:
        """Whether workloads on the hub show how they are."""
        return self.workload_status == "Always" or (self.workload_status == "Auto" and self.hub == "kcp")

    @property
    def thresholds(self) -> Thresholds:
        """The shares, as the core takes them."""
        return Thresholds(
            unhealthy=self.unhealthy_share,
            ready_unhealthy=self.ready_unhealthy_share,
            ready_degraded=self.ready_degraded_share,
            stale=self.stale_share,
        )
