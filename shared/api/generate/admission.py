"""The admission policies of a hub: who asks for a Placement, and that nobody but Moorage writes what Moorage decides.

One text for plain Kubernetes and for kcp. What they guard is the same; who is known by which identity is not. Pure:
returns text.
"""

from string import Template
from typing import Final, Literal

from shared.api.generate.contradictions import CONTRADICTIONS

Hub = Literal["kubernetes", "kcp"]

WRITERS: Final = {
    "placementdecisions": "decision",
    "placementdecisions/status": "decision",  # which a hub has until its CRDs are upgraded from 0.1
    "clusterrequests": "decision",  # their status is of whoever provides clusters
    "placementbindings": "binding",
    "placementbindings/status": "binding",
    "placementrevisions": "binding",
    "placements/status": "status",
    "placementpolicies/status": "status",
    "placementoverrides/status": "controller",
    "policyexceptions/status": "controller",
    "placementquotas/status": "controller",
}
"""What Moorage alone writes, and which worker does."""

_AUTHOR: Final = r"""    - name: username
      expression: >-
        '"' + request.userInfo.username.replace('\\', '\\\\').replace('"', '\\"') + '"'
    - name: uid
      expression: >-
        '"' + request.userInfo.?uid.orValue('').replace('\\', '\\\\').replace('"', '\\"') + '"'
    - name: groups
      expression: >-
        request.userInfo.?groups.orValue([]).map(group, '"' + group.replace('\\', '\\\\').replace('"', '\\"') + '"').join(',')
    - name: keys
      expression: >-
        request.userInfo.?extra.orValue({}).map(key, key).sort()
    - name: extra
      expression: >-
        variables.keys.map(key, '"' + key.replace('\\', '\\\\').replace('"', '\\"') + '":[' +
        request.userInfo.extra[key].map(each, '"' + each.replace('\\', '\\\\').replace('"', '\\"') + '"').join(',') + ']').join(',')
    - name: author
      expression: >-
        '{"username":' + variables.username + ',"uid":' + variables.uid + ',"groups":[' + variables.groups + '],"extra":{' +
        variables.extra + '}}'
    - name: before
      expression: >-
        oldObject == null ? '' : oldObject.metadata.?annotations['placement.moorage.io/requester'].orValue('')
    - name: requester
      expression: >-
        oldObject == null || object.spec != oldObject.spec ? $writer : variables.before
"""
"""Variables of both policies on the requester, so that they cannot come to say different things."""

_NAMED: Final = """\
    - name: named # by the worker that takes requests from the bus: an impersonated user could use nothing elsewhere
      expression: >-
        'moorage:intake' in request.userInfo.?groups.orValue([]) && !request.userInfo.?extra.orValue({}).exists(key,
        key in ['authentication.kcp.io/scopes', 'authentication.kubernetes.io/cluster-name'])
        ? object.metadata.?annotations['placement.moorage.io/requester'].orValue('') : ''
"""

_POLICIES: Final = Template(r"""#
# Who asks for a Placement, and that nobody but Moorage writes what Moorage decides: kept by the API server itself.
#
$where
#
# Authorization against targets is asked on behalf of whoever last changed what the Placement asks for, never of Moorage:
# creation, and any change of the spec, records its author. Changes of metadata and status keep what is recorded. A
# Placement without the annotation is authorized for nothing. The same with the author of a PlacementOverride, and of a
# PlacementPolicy, whose parameters are read by what its author may read; of a PolicyException, for whoever finds it later.
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata:
  name: requester.placement.moorage.io
spec:
  failurePolicy: Fail
  reinvocationPolicy: IfNeeded # whoever changes the spec after us must not have it pass as somebody else's
  matchConstraints:
    resourceRules:
      - apiGroups: [placement.moorage.io]
        apiVersions: [v1alpha1]
        resources: [placements, placementoverrides, placementpolicies, policyexceptions]
        operations: [CREATE, UPDATE]
  variables:
    # CEL has no JSON encoder here, so backslashes and quotes are escaped by hand: no name can add a group to itself.
    # A control character, which JSON wants escaped as well, makes text that does not parse: nothing is authorized then.
$author  mutations:
    - patchType: ApplyConfiguration
      applyConfiguration:
        expression: >-
          variables.requester == '' ? Object{} : Object{
            metadata: Object.metadata{
              annotations: {
                "placement.moorage.io/requester": variables.requester
              }
            }
          }
    # Something of it may be placed at any moment from now on; so it stays until it is deleted and the controller says that
    # nothing is. Else whoever made it by server-side apply would take that off by applying it again.
    - patchType: ApplyConfiguration
      applyConfiguration:
        expression: >-
          request.resource.resource != 'placements' || oldObject != null && (has(object.metadata.deletionTimestamp)
          || !('placement.moorage.io/placed' in oldObject.metadata.?finalizers.orValue([]))) ? Object{} : Object{
            metadata: Object.metadata{
              finalizers: ["placement.moorage.io/placed"]
            }
          }
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata:
  name: requester.placement.moorage.io
spec:
  policyName: requester.placement.moorage.io
---
# The same once more, at the end of admission: nobody, not even Moorage, says on whose behalf a Placement is, or whose an
# override, but by changing what it asks for.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: requester-is-the-author.placement.moorage.io
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - apiGroups: [placement.moorage.io]
        apiVersions: [v1alpha1]
        resources: [placements, placementoverrides, placementpolicies, policyexceptions]
        operations: [CREATE, UPDATE]
  variables:
$author    - name: after
      expression: object.metadata.?annotations['placement.moorage.io/requester'].orValue('')
  validations:
    - expression: variables.after == variables.requester
      message: the annotation placement.moorage.io/requester records who last changed the spec and cannot be written
      reason: Forbidden
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: requester-is-the-author.placement.moorage.io
spec:
  policyName: requester-is-the-author.placement.moorage.io
  validationActions: [Deny]
---
# Who approves a step of a rollout: whoever has the verb `approve` on the Placement. To take an approval back, or to keep
# the annotation, takes no right.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: approval.placement.moorage.io
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - apiGroups: [placement.moorage.io]
        apiVersions: [v1alpha1]
        resources: [placements]
        operations: [CREATE, UPDATE]
  variables:
    - name: before
      expression: >-
        oldObject == null ? '' : oldObject.metadata.?annotations['placement.moorage.io/approved'].orValue('')
    - name: after
      expression: object.metadata.?annotations['placement.moorage.io/approved'].orValue('')
  validations:
    - expression: >-
        variables.after in ['', variables.before] || authorizer.group('placement.moorage.io').resource('placements')
        .namespace(request.namespace).name(request.name).check('approve').allowed()
      message: whoever approves a step of a rollout needs the verb approve on the Placement
      reason: Forbidden
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: approval.placement.moorage.io
spec:
  policyName: approval.placement.moorage.io
  validationActions: [Deny]
---
# Whom a quota bounds: nobody themselves. A PlacementQuota is in the workspace of whoever owns what it bounds.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: quotas-bound-others.placement.moorage.io
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - apiGroups: [placement.moorage.io]
        apiVersions: [v1alpha1]
        resources: [placementquotas]
        operations: [CREATE, UPDATE]
  validations:
    - expression: object.spec.?workspace.orValue('') $bounded ''
      message: $bounding
      reason: Invalid
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: quotas-bound-others.placement.moorage.io
spec:
  policyName: quotas-bound-others.placement.moorage.io
  validationActions: [Deny]
$contradictions---
# Which SyncTargets are reached with credentials that a program of the operator's issues: those that discovery derives. Who may
# write a SyncTarget would else choose a ClusterProfile to be let in by. To leave the reference as it is, or out, is free.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: derived-by-discovery.placement.moorage.io
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - apiGroups: [placement.moorage.io]
        apiVersions: [v1alpha1]
        resources: [synctargets]
        operations: [CREATE, UPDATE]
  variables:
    - name: groups
      expression: request.userInfo.?groups.orValue([])
$confined  validations:
    - expression: >-
        !object.?spec.?clusterProfileRef.hasValue()
        || oldObject != null && object.?spec.?clusterProfileRef == oldObject.?spec.?clusterProfileRef
        || !variables.confined && (variables.operator || 'moorage:discovery' in variables.groups$discovery)
      message: clusterProfileRef is written by discovery alone
      reason: Forbidden
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: derived-by-discovery.placement.moorage.io
spec:
  policyName: derived-by-discovery.placement.moorage.io
  validationActions: [Deny]
---
$who
#
# Deleting is free: what is missing is decided anew, and a PlacementBinding stays until its objects are out of the target,
# since taking off its finalizer is an update. The status of a SyncTarget is not among it: its owner, and agents, report there
# what they know of their own cluster.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: decided-by-moorage.placement.moorage.io
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - apiGroups: [placement.moorage.io]
        apiVersions: [v1alpha1]
        resources:
$written
        operations: [CREATE, UPDATE]
  variables:
    - name: worker
      expression: >-
        {$writers}[?request.resource.resource].orValue('status')
    - name: groups
      expression: request.userInfo.?groups.orValue([])
$confined$collector  validations:
    - expression: >-
        !variables.confined && (variables.operator$others
        || ('moorage:' + variables.worker) in variables.groups)
      message: what Moorage decides and reports is written by Moorage alone
      reason: Forbidden
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: decided-by-moorage.placement.moorage.io
spec:
  policyName: decided-by-moorage.placement.moorage.io
  validationActions: [Deny]
""")

_CONFINED: Final = """    - name: confined
      expression: >-
        request.userInfo.?extra.orValue({}).exists(key,
        key in ['authentication.kcp.io/scopes', 'authentication.kubernetes.io/cluster-name'])
    - name: operator
      expression: variables.groups.exists(group, group in ['system:masters', 'system:kcp:admin'])
"""
"""Who is an operator, and who is somebody in one workspace only, whatever their groups."""

_COLLECTOR: Final = """    - name: collector # Kubernetes' own controllers, which take owners off, or write what is there in another version
      expression: >-
        request.?subResource.orValue('') == '' && request.userInfo.username in [
        'system:kube-controller-manager',
        'system:serviceaccount:kube-system:generic-garbage-collector',
        'system:serviceaccount:kube-system:storage-version-migrator-controller']
        && oldObject != null && object.?spec == oldObject.?spec && object.?status == oldObject.?status
"""

_HUBS: Final[dict[Hub, dict[str, str]]] = {
    "kubernetes": {
        "where": """\
# Needs Kubernetes 1.36 or newer (MutatingAdmissionPolicy in v1). Apply it on the hub, as an administrator. On kcp,
# deploy/kcp/admission.yaml takes its place.""",
        "who": """\
# Who writes what is decided: the worker whose it is, and operators. A worker is known by its ServiceAccount, or by a group
# (`moorage:decision`) where it logs in by a certificate or a token of another kind.""",
        "collector": _COLLECTOR,
        "discovery": "\n        || request.userInfo.username == 'system:serviceaccount:moorage-system:discovery'",
        "contradictions": CONTRADICTIONS,
        "bounded": "==",
        "bounding": "this hub has no workspaces, so leave spec.workspace out; spec.namespace bounds one namespace",
        "author": _AUTHOR.replace("$writer", "variables.author"),
        "others": """ || variables.collector
        || request.userInfo.username == 'system:serviceaccount:moorage-system:' + variables.worker""",
    },
    "kcp": {
        "where": """\
# Needs kcp 0.32 or newer. Apply it in the workspace of the APIExport: there it holds in the workspaces of all consumers.""",
        "who": """\
# Who writes what is decided: the worker whose it is, and operators. A worker is known by a group (`moorage:decision`), which
# it has by a certificate or a token. ServiceAccounts are nobody here: everybody is administrator of some workspace, with
# ServiceAccounts of any name there and the right to impersonate. Such users carry, in `extra`, what confines them to it.""",
        "collector": "",
        "discovery": "",
        "bounded": "!=",
        "bounding": ">-\n        spec.workspace names the workspace that is bounded, below the one that the quota is in: nobody bounds themselves",
        "contradictions": "",  # there a policy of the export has no objects of its consumers as parameters
        "author": _NAMED + _AUTHOR.replace("$writer", "(variables.named == '' ? variables.author : variables.named)"),
        "others": "",
    },
}


def admission(hub: Hub) -> str:
    """The policies and their bindings, as YAML with comments."""
    writers = {name.partition("/")[0]: worker for name, worker in WRITERS.items() if worker != "status"}
    return _POLICIES.substitute(
        _HUBS[hub],
        confined=_CONFINED,
        written="\n".join(f"          - {name}" for name in WRITERS),
        writers=", ".join(f"'{name}': '{worker}'" for name, worker in writers.items()),
    )
