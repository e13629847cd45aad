"""The picture as text: what stands in the lines, with and without colour."""

import io

import pytest
from rich.console import Console

from services.cli.demo import render
from services.cli.demo.picture import Loss, figures
from services.cli.demo.screen import Screen
from services.cli.support.plan import Endpoints
from shared.api import ServedAPI, SyncTargetStatus, Taint, WorkspaceSelector
from tests.unit.cli.demo.pictures import PLATFORM, REF, cluster, decision, picture, placement, running, scored


def plain(lines):
    return [line.plain for line in lines]


def test_a_cluster_is_shown_with_what_is_special_about_it():
    special = cluster(
        "gpu",
        ready=False,
        taints=(Taint(key="gpu", effect="NoSchedule"),),
        allowed_workspaces=WorkspaceSelector(paths=("root:ml",)),
    )
    assert plain(render.clusters(picture(cluster("eu"), special))) == [
        "  eu   eu         2 nodes     8 cpu  ready",
        "  gpu  eu         2 nodes     8 cpu  not ready, NoSchedule gpu, only for root:ml",
    ]


def test_a_cluster_without_batch_says_so():
    api = ServedAPI(resource="deployments", kind="Deployment", versions=("v1",), group="apps")
    old = cluster("old")
    seen = picture(old)
    seen.clusters[f"{PLATFORM}/old"] = type(old)(
        metadata=old.metadata, status=SyncTargetStatus(conditions=old.status.conditions, apis=(api,))
    )
    assert plain(render.clusters(seen))[0].endswith("ready, serves no batch/v1")


def test_the_stages_show_how_many_placements_have_passed():
    seen = running("eu")
    seen.heard("moorage.pipeline.requested.root=3Ashop.shop.web")
    assert render.stages(seen).plain.startswith("  requested 1 > discovered 0 > evaluated 0")


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param(picture(cluster("eu")), "  shop/web              waiting", id="waiting"),
        pytest.param(running("eu", "us"), "  shop/web              running   on eu, us", id="running"),
    ],
)
def test_headlines(seen, expected):
    assert render.headline(seen, REF).plain == expected


def test_the_headline_of_a_refusal_is_its_reason():
    seen = picture(cluster("eu"))
    seen.saw_decision(REF, decision(rationale="0/1 targets: 1 insufficient cpu"), 11.0)
    assert render.headline(seen, REF).plain == "  shop/web              refused   0/1 targets: 1 insufficient cpu"


def test_a_decision_shows_scores_that_add_up_the_next_best_and_why_not_the_others():
    seen = running("eu")
    before = seen.decisions[REF].status
    seen.saw_decision(
        REF, decision("eu", rejected=before.rejected, rationale="why", alternates=(scored("us", 40.0),)), 11.0
    )
    assert plain(render.decision(seen, REF)) == [
        "  shop/web  why",
        "    chosen eu    80.0 = Policy 60.0 + Resource 20.0  Healthy",
        "    next   us    40.0 = Policy 30.0 + Resource 10.0",
        "    not    full: insufficient resources",
        "    not    2 clusters: not authorized",
    ]


def test_bindings_show_what_is_applied_where():
    assert plain(render.bindings(running("eu"), REF)) == [
        "  shop/web              eu    Applied   Healthy      1 Deployment, 2 Service"
    ]


def test_a_loss_shows_what_moved_where_and_how_long_it_took():
    seen = running("us", "eu")
    seen.saw_decision(REF, decision("us", "ap", before=("eu", "us")), 12.0)
    lost = Loss(f"{PLATFORM}/eu", [REF], noticed=2.0, decided=4.0, running=5.5)
    assert plain(render.loss(seen, lost)) == [
        "  noticed after 2.0 s, decided anew after 4.0 s, running elsewhere after 5.5 s",
        "  shop/web              eu -> ap, now on us, ap",
    ]


def test_what_is_unfinished_names_placements_and_clusters():
    assert plain(render.unfinished(picture(cluster("eu"), cluster("us", ready=False)))) == [
        "  shop/web              waiting",
        "  us is not ready",
    ]


def test_the_summary_names_restarts_only_where_there_were_some():
    lost = Loss(f"{PLATFORM}/eu", [REF], 1.0, 2.0, 3.0)
    with_restart = plain(render.summary(figures(running("eu"), 2, 20.0), lost))
    assert "  created to decided    p50 250 ms, max 250 ms" in with_restart
    assert "  cluster lost          eu: 1 placements moved in 3.0 s" in with_restart
    assert "  processes restarted   2" in with_restart
    without = "\n".join(plain(render.summary(figures(running("eu"), 0, 20.0), None)))
    assert "restarted" not in without
    assert "lost" not in without


def test_commands_to_look_around_can_be_pasted():
    place = Endpoints(
        nats="nats://127.0.0.1:1",
        kubeconfig="/d/admin.kubeconfig",
        targets={"eu": "/d/eu.kubeconfig", "full": "/d/full.kubeconfig"},
        users={"ann": "/d/ann.kubeconfig"},
        pids={},
        logs="/d/logs",
    )
    lines = plain(render.look_around(place, running("eu"), {"root:shop": "ann"}, "/venv/bin/"))
    assert "  /venv/bin/kubectl --kubeconfig /d/ann.kubeconfig describe placements -A" in lines
    assert "  /venv/bin/kubectl --kubeconfig /d/eu.kubeconfig get deployments -A" in lines
    assert "  nats --server nats://127.0.0.1:1 sub 'moorage.pipeline.>'" in lines


@pytest.mark.parametrize(
    ("code", "expected"),
    [("InsufficientResources", "insufficient resources"), ("MissingAPI", "missing API"), ("NotReady", "not ready")],
)
def test_reason_codes_as_words(code, expected):
    assert render.words(code) == expected


def screen(**console):
    out = io.StringIO()
    return out, Screen(Console(file=out, highlight=False, width=40, **console), clock=iter(range(100)).__next__)


def test_without_a_terminal_a_placement_is_a_line_when_it_changes_and_long_lines_stay_whole():
    out, shown = screen()
    seen = picture(cluster("eu"))
    with shown.following():
        shown.show(seen)
        shown.show(seen)
        seen.saw_decision(REF, decision(rationale="0/1 targets: " + "1 insufficient cpu, " * 9), 11.0)
        shown.show(seen)
    lines = out.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["waiting", "refused"]
    assert "\x1b" not in out.getvalue()


def test_on_a_terminal_it_is_redrawn_in_place_with_colour():
    out, shown = screen(force_terminal=True, color_system="standard")
    seen = running("eu")
    with shown.following():
        shown.show(seen)
        seen.placements[REF] = placement(health={"eu": "Degraded"})
        shown.show(seen)
        shown.note("beside the story")
    text = out.getvalue()
    assert "requested" in text
    assert "\x1b[2K" in text  # a line is wiped before it is drawn again
    assert "\x1b[32m" in text


@pytest.mark.parametrize("how", ["flag", "environment"])
def test_colour_can_be_refused_on_a_terminal(monkeypatch, how, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    if how == "environment":
        monkeypatch.setenv("NO_COLOR", "1")
    shown = Screen(color=how != "flag")
    shown.note("yellow elsewhere")
    assert "\x1b[33m" not in capsys.readouterr().out


def test_titles_say_when():
    out, shown = screen()
    shown.title("Summary")
    assert out.getvalue() == "\n[  1.0 s] Summary\n"
