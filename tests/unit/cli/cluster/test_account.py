"""The account in a cluster: what it may do, and the kubeconfig that leads there."""

import pytest

from services.cli.cluster import account
from services.cli.hub.objects import manifests
from services.cli.support.errors import UsageError
from shared.kube.auth.kubeconfig import Credentials, load_kubeconfig


def rules(objects, name):
    return next(each["rules"] for each in objects if each["metadata"]["name"] == name and "rules" in each)


def test_what_may_be_placed_is_what_workers_may_read_on_the_hub():
    hub = rules(manifests(), account.SOURCE)
    there = rules(account.account(), account.WORKLOADS)
    assert [each["resources"] for each in there] == [each["resources"] for each in hub]
    assert {tuple(each["verbs"]) for each in there} == {tuple(account.VERBS)}


def test_no_right_is_to_do_everything_and_none_gives_rights():
    found = [rule for each in account.account() for rule in each.get("rules") or ()]
    assert [rule for rule in found if "*" in rule["verbs"]] == []
    writing = [rule for rule in found if set(rule["verbs"]) - {"get", "list", "watch"}]
    assert [rule for rule in writing if "*" in rule["resources"] or "*" in rule["apiGroups"]] == []
    assert [rule for rule in writing if "rbac.authorization.k8s.io" in rule["apiGroups"]] == []


def test_without_the_right_to_remove_namespaces_nothing_else_can_be_listed():
    found = account.account(keep_namespaces=True)
    assert account.NAMESPACES_ROLE not in [each["metadata"]["name"] for each in found]
    assert [rule for each in found for rule in each.get("rules") or () if "*" in (rule.get("resources") or ())] == []


def test_further_resources_are_placed_too_and_what_is_none_is_refused():
    added = rules(account.account(["certificates.cert-manager.io", "limitranges"]), account.WORKLOADS)[-2:]
    assert [(each["apiGroups"], each["resources"]) for each in added] == [
        (["cert-manager.io"], ["certificates"]),
        ([""], ["limitranges"]),
    ]
    for wrong in ("*", "*.apps", "Certificate", ""):
        with pytest.raises(UsageError):
            account.account([wrong])


def test_the_kubeconfig_leads_where_that_of_the_administrator_does_as_the_account_alone():
    owner = Credentials(server="https://east.example:6443", ca=b"CA", token="root", tls_server_name="east")
    found = load_kubeconfig(account.kubeconfig(owner, "mine"))
    assert (found.server, found.ca, found.token, found.tls_server_name) == (
        "https://east.example:6443",
        b"CA",
        "mine",
        "east",
    )
    assert b"root" not in account.kubeconfig(owner, "mine")
    assert load_kubeconfig(account.kubeconfig(owner, "mine", "https://10.0.0.1")).server == "https://10.0.0.1"


def test_every_part_of_an_account_is_known_to_who_takes_it_back():
    made = {(each["kind"], each["metadata"]["name"]) for each in account.account() if each["kind"] != "Namespace"}
    assert set(account.parts()) == made
