"""What docs/requests.md and docs/publish.md have the operator write is what intake, RBAC and NATS take."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from services.cli.main import main
from services.intake import users

ROOT = Path(__file__).parents[3]
REQUESTS, PUBLISH = ((ROOT / "docs" / name).read_text() for name in ("requests.md", "publish.md"))
USERS, ROLE = re.findall(r"```yaml\n(.*?)```", REQUESTS, re.DOTALL)


def test_the_users_file_of_the_page_is_one_that_intake_takes(tmp_path):
    path = tmp_path / "users.yaml"
    path.write_text(USERS)
    ((where, who),) = users.read(path)
    assert (where, who) == ("root:team-a", "ci")
    assert users.read(path)[where, who].username == "pipeline@example.com"
    assert set(yaml.safe_load(USERS)["users"][0]) == set(users.UserEntry.__struct_fields__)


def test_the_users_file_of_the_examples_is_one_that_intake_takes():
    assert users.read(ROOT / "examples/users.yaml")


def test_the_role_of_the_page_is_gathered_and_lets_act_as_the_user_of_the_page(tmp_path):
    role = yaml.safe_load(ROLE)
    installed = yaml.safe_load_all((ROOT / "services/cli/hub/rbac.yaml").read_text())
    selectors = [
        each["matchLabels"]
        for found in installed
        for each in found.get("aggregationRule", {}).get("clusterRoleSelectors", ())
    ]
    assert role["metadata"]["labels"] in selectors
    path = tmp_path / "users.yaml"
    path.write_text(USERS)
    (requester,) = users.read(path).values()
    named = {rule["resources"][0]: set(rule["resourceNames"]) for rule in role["rules"]}
    assert requester.username in named["users"]
    assert set(requester.groups) == named["groups"]


def test_the_account_of_a_tenant_is_made_by_the_command_of_the_page(capsys):
    (command,) = re.findall(r"`(moorage nats permissions --tenant [^`]*)`", PUBLISH)
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(command)[1:])
    assert not ended.value.code
    assert '"moorage.requests.root=3Ashop.alice.place"' in capsys.readouterr().out


def test_the_pages_name_no_command_that_there_is_not(capsys):
    shown = "\n".join(re.findall(r"`[^`\n]+`|^    .*$", REQUESTS + PUBLISH, re.MULTILINE))
    commands = set(re.findall(r"\bmoorage ([a-z]+)", shown))
    assert {"place", "withdraw", "decide", "events", "wait", "requests", "nats", "dead", "up"} <= commands
    for command in commands:
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert not ended.value.code, command
