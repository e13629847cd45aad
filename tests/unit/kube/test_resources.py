"""Where resources are, and what they are called."""

import pytest

from shared.hub.resources import PLACEMENTS, SYNCTARGETS
from shared.kube.resources import CONFIGMAPS, NAMESPACES


@pytest.mark.parametrize(
    ("resource", "arguments", "path"),
    [
        (CONFIGMAPS, (), "/api/v1/configmaps"),
        (CONFIGMAPS, ("shop",), "/api/v1/namespaces/shop/configmaps"),
        (CONFIGMAPS, ("shop", "web"), "/api/v1/namespaces/shop/configmaps/web"),
        (PLACEMENTS, ("s", "w", "status"), "/apis/placement.moorage.io/v1alpha1/namespaces/s/placements/w/status"),
        (SYNCTARGETS, ("ignored", "eu"), "/apis/placement.moorage.io/v1alpha1/synctargets/eu"),
        (NAMESPACES, ("", "a/../b?c"), "/api/v1/namespaces/a%2F..%2Fb%3Fc"),
        (NAMESPACES, ("", "system:x"), "/api/v1/namespaces/system:x"),
    ],
)
def test_paths_are_where_the_api_server_has_them(resource, arguments, path):
    assert resource.path(*arguments) == path


def test_a_path_that_would_lead_elsewhere_is_refused():
    with pytest.raises(ValueError, match="needs a namespace"):
        CONFIGMAPS.path("", "web")
    with pytest.raises(ValueError, match="is no name"):
        CONFIGMAPS.path("..", "web")


def test_resources_are_named_as_rbac_names_them():
    assert (PLACEMENTS.name, PLACEMENTS.api_version) == (
        "placements.placement.moorage.io",
        "placement.moorage.io/v1alpha1",
    )
    assert (CONFIGMAPS.name, CONFIGMAPS.api_version) == ("configmaps", "v1")
