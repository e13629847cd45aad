"""The admission policies of real hubs, evaluated by a CEL implementation that type-checks them."""

import json
import re

import yaml
from cel_expr_python import cel
from cel_expr_python.ext import ext_optional, ext_strings

from services.sandbox.access.users import User
from services.sandbox.objects import guards
from shared.api.generate.__main__ import ROOT
from shared.hub.names import REQUESTER_ANNOTATION

ENVIRONMENT = cel.NewEnv(
    variables=dict.fromkeys(("request", "object", "oldObject", "params", "variables"), cel.Type.DYN),
    extensions=[ext_strings.ExtStrings(), ext_optional.ExtOptional()],
)
GROUP = "placement.moorage.io"
ALICE = {"username": "alice", "uid": "7", "groups": ["shop", "system:authenticated"]}
BOB = {"username": "bob"}
SCOPED = {"authentication.kcp.io/scopes": ["cluster:2x"]}
OF_A_WORKSPACE = {"authentication.kubernetes.io/cluster-name": ["2x"]}
ACCOUNT = "system:serviceaccount:moorage-system:"


def compiled(expression):
    # The engine of these tests has no sort(); maps with one key, or keys given in order, need none. Nor has it an
    # authorizer: `approves` says what that would.
    asked = re.sub(r"authorizer\..*\.allowed\(\)", "request.approves", expression.replace(".sort()", ""))
    return ENVIRONMENT.compile(asked)


class Policy:
    """One admission policy, evaluated."""

    def __init__(self, document):
        self.spec = document["spec"]
        self.variables = {each["name"]: compiled(each["expression"]) for each in self.spec.get("variables", ())}
        self.validations = [compiled(each["expression"]) for each in self.spec.get("validations", ())]

    def values(self, request, new=None, old=None, params=None):
        data = {"request": request, "object": new, "oldObject": old, "params": params, "variables": {}}
        for name, program in self.variables.items():
            data["variables"][name] = program.eval(data=data).plain_value()
        return data

    def admits(self, request, new=None, old=None, params=None):
        data = self.values(request, new, old, params)
        return all(program.eval(data=data).plain_value() for program in self.validations)


def documents(path):
    return list(yaml.safe_load_all((ROOT / path).read_text()))


ON_KUBERNETES, ON_KCP = documents("services/cli/hub/admission.yaml"), documents("deploy/kcp/admission.yaml")
STAMPS, CHECKS, APPROVAL, BOUND, AGREE, DERIVED, DECIDED = (
    Policy(each) for each in ON_KUBERNETES if not each["kind"].endswith("Binding")
)
STAMPS_ON_KCP, CHECKS_ON_KCP, _, BOUND_ON_KCP, DERIVED_ON_KCP, DECIDED_ON_KCP = (
    Policy(each) for each in ON_KCP if not each["kind"].endswith("Binding")
)

STAMPED = ["placements", "placementoverrides", "placementpolicies", "policyexceptions"]


def user_of(info):
    extra = tuple((key, tuple(values)) for key, values in info.get("extra", {}).items())
    return User(info["username"], tuple(info.get("groups", ())), info.get("uid", ""), extra)


def placement(annotation=None, **spec):
    annotations = {} if annotation is None else {"annotations": {REQUESTER_ANNOTATION: annotation, "other": "b"}}
    return {"metadata": {"name": "p", **annotations}, "spec": spec}


def recorded(info, new, old=None):
    """The requester that both record, with what both write said the same way; it passes the check at the end."""
    said = STAMPS.values({"userInfo": info}, new, old)["variables"]["requester"]
    kept = guards.requester(new, old, user_of(info))
    stored = {**new, "metadata": {**new["metadata"], "annotations": {REQUESTER_ANNOTATION: said} if said else {}}}
    assert CHECKS.admits({"userInfo": info}, stored, old)
    if said.startswith("{"):
        assert json.loads(said) == json.loads(kept)
    else:
        assert said == kept
    return said
