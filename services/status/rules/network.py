"""Services."""

from services.status.rules.finding import HEALTHY, Finding, Object, mapping


def service(obj: Object) -> Finding:
    """A load balancer needs an address; any other Service is there as soon as it exists."""
    if mapping(obj, "spec").get("type") != "LoadBalancer":
        return HEALTHY
    if mapping(obj, "status", "loadBalancer").get("ingress"):
        return HEALTHY
    return Finding("Progressing", "the load balancer has no address yet")
