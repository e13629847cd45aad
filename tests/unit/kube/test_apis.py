"""The order of an API's versions."""

from shared.kube.apis import version_priority


def test_versions_sort_by_the_rules_of_kubernetes():
    # The example of the Kubernetes documentation.
    best_first = ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10"]
    worst_first = best_first[::-1]
    assert sorted(worst_first, key=version_priority) == best_first
