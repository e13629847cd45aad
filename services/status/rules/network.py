"""Services."""

from services.status.rules.diagnosis import HEALTHY, Diagnosis, Object, mapping


def service(obj: Object) -> Diagnosis:
    """A load balancer needs an address; any other Service is there as soon as it exists."""
    if mapping(obj, "spec").get("type") != "LoadBalancer":
        return HEALTHY
    if mapping(obj, "status", "loadBalancer").get("ingress"):
        return HEALTHY
    return Diagnosis("Progressing", "the load balancer has no address yet")
