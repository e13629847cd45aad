"""PolicyTest: what policies must say of targets, in a file for `moorage policy test`. No server has this kind."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.api.meta import ApiStruct, Sentence, Time

TEST_API_VERSION: Literal["test.moorage.io/v1alpha1"] = "test.moorage.io/v1alpha1"

_Files = Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(max_length=256)]


class SuiteMeta(ApiStruct, frozen=True, kw_only=True):
    """What the test is called."""

    name: Annotated[str, Meta(description="Name of the test.", min_length=1, max_length=253)]


class ExpectedResult(ApiStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What must be said of some targets. All that is given must hold for each of them."""

    targets: Annotated[
        tuple[str, ...], Meta(description="Targets by name, or as <workspace>/<name>; none: all of them.")
    ] = ()
    result: Annotated[
        Literal["Kept", "Rejected"] | None, Meta(description="Whether the rules leave the targets in, or reject them.")
    ] = None
    rule: Annotated[
        str,
        Meta(description="A rule that rejects the targets, by name or as <policy>/<rule>, whichever others do too."),
    ] = ""
    message: Annotated[
        Sentence, Meta(description="Part of the message with which they are rejected (by that rule).")
    ] = ""
    score: Annotated[
        Annotated[float, Meta(ge=0, le=100)] | None,
        Meta(description="The policy score of the targets, 0 to 100, to two decimals."),
    ] = None
    error: Annotated[
        Sentence,
        Meta(
            description="Part of what goes wrong in a rule on the targets. An error that nobody expects fails the case."
        ),
    ] = ""
    exemption: Annotated[
        str, Meta(description="A PolicyException by which a rule that would reject the targets does not count.")
    ] = ""
    outcomes: Annotated[
        dict[str, bool | Literal["Error", "NotCovered"]],
        Meta(
            description="What rules say by themselves, also those of policies that are DryRun or Warn: true, false, "
            "Error, or NotCovered where a selector of the policy leaves the Placement or the target out."
        ),
    ] = msgspec.field(default_factory=dict)


class PolicyCase(ApiStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One Placement at one time, for one requester, and what must be said of targets for it."""

    name: Annotated[str, Meta(description="What is shown: a sentence on what must be so.", min_length=1)]
    placement: Annotated[
        str,
        Meta(
            description="The Placement, by name, <namespace>/<name> or <workspace>/<namespace>/<name>. May be left out "
            "where there is one, or none: then an example stands for it, which every policy holds for."
        ),
    ] = ""
    user: Annotated[str | None, Meta(description="Who asks for the Placement: `request.user`.")] = None
    groups: Annotated[tuple[str, ...], Meta(description="Whose groups these are: `request.groups`.")] = ()
    now: Annotated[Time | None, Meta(description="The time at which the rules are evaluated, as RFC 3339.")] = None
    results: Annotated[tuple[ExpectedResult, ...], Meta(description="What must be said.", min_length=1)]


class PolicyTest(ApiStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Cases, and the files with what they are about, relative to this one; objects beside it in its file count too."""

    api_version: Annotated[Literal["test.moorage.io/v1alpha1"], Meta(description="Version of this format.")]
    kind: Literal["PolicyTest"]
    metadata: Annotated[SuiteMeta, Meta(description="The name of the test.")]
    policies: Annotated[
        _Files,
        Meta(
            description="Files with PlacementPolicies, PolicyExceptions from them, and the objects that paramRef names."
        ),
    ] = ()
    targets: Annotated[_Files, Meta(description="Files with SyncTargets.")] = ()
    placements: Annotated[_Files, Meta(description="Files with Placements, and the objects that they select.")] = ()
    cases: Annotated[tuple[PolicyCase, ...], Meta(description="The cases.", min_length=1)]
