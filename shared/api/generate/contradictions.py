"""The admission policy by which no two PlacementOverrides contradict each other: for plain Kubernetes, as text. Pure."""

from typing import Final

CONTRADICTIONS: Final = """\
---
# Overrides that contradict each other are refused, with the name of the other one: of the same priority, about the same
# placements and a target of one name, one Force and one Exclude, or one Prefer and one Avoid. It is asked once for each
# PlacementOverride there is. Of two that are written at the same moment, or are about placements by name and by label, the
# stronger holds (docs/overrides.md).
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: overrides-agree.placement.moorage.io
spec:
  failurePolicy: Fail
  paramKind:
    apiVersion: placement.moorage.io/v1alpha1
    kind: PlacementOverride
  matchConstraints:
    resourceRules:
      - apiGroups: [placement.moorage.io]
        apiVersions: [v1alpha1]
        resources: [placementoverrides]
        operations: [CREATE, UPDATE]
  variables:
    - name: types
      expression: "[object.spec.type, params.spec.type]"
    - name: opposed
      expression: >-
        ('Force' in variables.types && 'Exclude' in variables.types) || ('Prefer' in variables.types && 'Avoid' in variables.types)
    - name: alive # whoever may write an override and not override anything is in nobody's way
      expression: >-
        !has(params.metadata.deletionTimestamp) && !params.?status.conditions.orValue([]).exists(each,
        each.type == 'Accepted' && each.status == 'False')
    - name: together
      expression: >-
        has(object.spec.placementRef) && has(params.spec.placementRef)
        ? object.spec.placementRef.name == params.spec.placementRef.name
        && object.spec.placementRef.?namespace.orValue('default') == params.spec.placementRef.?namespace.orValue('default')
        : has(object.spec.placementSelector) && has(params.spec.placementSelector)
        && object.spec.placementSelector == params.spec.placementSelector
    - name: meet
      expression: >-
        object.spec.targets.exists(one, params.spec.targets.exists(other, one.name == other.name
        && (one.?workspace.orValue('') == '' || other.?workspace.orValue('') == ''
        || one.?workspace.orValue('') == other.?workspace.orValue(''))))
  validations:
    - expression: >-
        object.metadata.name == params.metadata.name || !variables.opposed || !variables.alive
        || object.spec.?priority.orValue(0) != params.spec.?priority.orValue(0) || !variables.together || !variables.meet
      messageExpression: >-
        'it contradicts the PlacementOverride ' + params.metadata.name + ' (' + params.spec.type
        + '): take that back (moorage unforce ' + params.metadata.name + '), or give one of them a higher priority'
      reason: Invalid
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: overrides-agree.placement.moorage.io
spec:
  policyName: overrides-agree.placement.moorage.io
  paramRef:
    selector: {}
    parameterNotFoundAction: Allow
  validationActions: [Deny]
"""
