"""Who may be spoken for is what the operator's file says, and nothing else."""

import json

import pytest

from services.intake.users import Users
from shared.model.request import Requester
from shared.process.main import StartError
from tests.support.asking import write_users


def test_a_user_is_who_the_file_says_in_the_workspaces_that_it_names(tmp_path):
    users = Users(
        write_users(
            tmp_path / "users.yaml",
            {"user": "ci", "username": "ci@example.com", "groups": ["dev"], "extra": {"k": ["v"]}},
            {"user": "ci", "workspaces": ["root:a"], "username": "a-ci", "uid": "7"},
        )
    )
    assert users.get("root:b", "ci") == Requester(
        username="ci@example.com", groups=("dev", "system:authenticated"), extra={"k": ("v",)}
    )
    assert users.get("root:a", "ci") == Requester(username="a-ci", uid="7", groups=("system:authenticated",))
    assert users.get("root:b", "other") is None


def test_without_a_file_nobody_is_known():
    assert Users("").get("root", "ci") is None


def test_the_file_is_read_again_when_it_changes_and_kept_when_it_cannot_be_read(tmp_path):
    path = tmp_path / "users.yaml"
    users = Users(write_users(path, {"user": "ci"}))
    write_users(path, {"user": "ci", "username": "another"})
    assert users.get("", "ci").username == "another"
    path.write_text("users: [")
    assert users.get("", "ci").username == "another"
    path.unlink()
    assert users.get("", "ci").username == "another"
    write_users(path)
    assert users.get("", "ci") is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("users: [", "users.yaml"),
        ("users: {}", "array"),
        (json.dumps({"users": [{"name": "ci"}]}), "unknown field"),
        (json.dumps({"users": [{"user": ""}]}), "name of a user is empty"),
        (json.dumps({"users": [{"user": "a"}, {"user": "a"}]}), "stands twice"),
        (json.dumps({"users": [{"user": "a", "groups": ["system:masters"]}]}), "RBAC does not bind"),
        (json.dumps({"users": [{"user": "a", "groups": ["system:kcp:admin"]}]}), "RBAC does not bind"),
        (json.dumps({"users": [{"user": "a", "groups": ["system:masters"], "system": True}]}), "RBAC does not bind"),
        (json.dumps({"users": [{"user": "a", "groups": ["system:nodes"]}]}), "system:nodes .* say `system: true`"),
        (json.dumps({"users": [{"user": "a", "username": "system:admin"}]}), "say `system: true`"),
        (json.dumps({"users": [{"user": "system:admin"}]}), "say `system: true`"),
        (json.dumps({"users": [{"user": "*"}]}), "spelled out"),
        (json.dumps({"users": [{"user": "a", "username": "team-*"}]}), "spelled out"),
        (json.dumps({"users": [{"user": "a", "workspaces": ["*"]}]}), "spelled out"),
        (json.dumps({"users": [{"user": "a", "workspaces": ["root:>"]}]}), "spelled out"),
        (json.dumps({"users": [{"user": "a", "workspaces": ["root", "root"]}]}), "stands twice for root"),
        (json.dumps({"users": [{"user": "a", "groups": ["g", "g"]}]}), "a group is empty, or stands twice"),
        (json.dumps({"users": [{"user": "a", "groups": [""]}]}), "a group is empty"),
        (json.dumps({"users": [{"user": "a", "username": "b\r\nImpersonate-Group: c"}]}), "control characters"),
        (json.dumps({"users": [{"user": "a", "extra": {"k": ["v\n"]}}]}), "control characters"),
        (json.dumps({"users": [{"user": "a", "groups": "team"}]}), "array"),
        ("users: [{user: a}]\nusers: []", "'users' stands twice"),
        ("users: [{user: a, username: b, username: c}]", "'username' stands twice"),
        ("x" * (5 << 20), "MiB"),
    ],
)
def test_a_file_that_cannot_be_used_ends_the_start_with_its_reason(tmp_path, content, reason):
    path = tmp_path / "users.yaml"
    path.write_text(content)
    with pytest.raises(StartError, match=reason):
        Users(str(path))


def test_a_file_that_is_not_there_ends_the_start(tmp_path):
    with pytest.raises(StartError, match="users_file"):
        Users(str(tmp_path / "none.yaml"))


def test_an_empty_file_knows_nobody(tmp_path):
    path = tmp_path / "users.yaml"
    path.write_text("")
    assert Users(str(path)).get("", "ci") is None


def test_who_has_a_name_that_kubernetes_gives_is_taken_where_the_operator_says_so(tmp_path):
    account = "system:serviceaccount:ci:deployer"
    path = write_users(tmp_path / "users.yaml", {"user": "ci", "username": account, "system": True})
    assert Users(path).get("", "ci") == Requester(username=account, groups=("system:authenticated",))
    assert Users(write_users(tmp_path / "users.yaml", {"user": "ci", "groups": ["system:authenticated"]})).get("", "ci")
