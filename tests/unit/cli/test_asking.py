"""What the commands ask for over NATS, and what they refuse to ask."""

import json
from pathlib import Path

import pytest
import yaml

from services.cli.main import main
from services.cli.support.asking import request
from services.cli.support.errors import UsageError
from services.cli.support.flags import content
from services.cli.support.identity import AskerSettings
from services.cli.support.tenant import subject
from shared.cloudevents import parse, structured
from shared.pipeline.requests import RequestSubject
from tests.support.worlds import deployment, placement


def file(folder: Path, *objects: object, name: str = "app.yaml") -> str:
    path = folder / name
    path.write_text(yaml.safe_dump_all(objects))
    return str(path)


def test_the_one_placement_is_asked_for_with_all_other_objects(tmp_path: Path) -> None:
    first, second = file(tmp_path, placement("web")), file(tmp_path, deployment("web"), name="b.yaml")
    assert content([first, second]) == {"placement": placement("web"), "objects": [deployment("web")]}


def test_a_placement_without_namespace_is_in_the_default_one(tmp_path: Path) -> None:
    bare = placement("web")
    del bare["metadata"]["namespace"]
    assert content([file(tmp_path, bare)])["placement"]["metadata"] == {**bare["metadata"], "namespace": "default"}


@pytest.mark.parametrize("objects", [[], [deployment("web")], [placement("web"), placement("other")]])
def test_not_one_placement_is_refused_with_their_number(tmp_path: Path, objects: list[object]) -> None:
    number = sum(each["kind"] == "Placement" for each in objects)
    with pytest.raises(UsageError, match=f"there are {number}"):
        content([file(tmp_path, *objects)])


def test_a_file_that_is_not_there_or_no_manifest_is_refused_by_name(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(UsageError, match=path.name):
            content([str(path)])
    with pytest.raises(UsageError, match=r"app\.yaml"):
        content([file(tmp_path, {"placement": {}})])


def test_a_request_is_a_cloud_event_with_an_id_of_its_own_unless_one_is_given() -> None:
    first, second = (request("place", {"placement": {}}, reply_to="_INBOX.a") for _ in range(2))
    assert first.id != second.id
    assert request("place", {}, id="mine").id == "mine"
    read = parse(structured(first), {})
    assert (read.type, read.extensions["replyto"]) == ("io.moorage.placement.place.v1", "_INBOX.a")
    assert json.loads(read.data) == {"placement": {}}


def test_what_is_too_large_for_a_request_is_refused_before_it_is_sent() -> None:
    with pytest.raises(UsageError, match="a request may have 1048576 bytes, and this one has"):
        request("place", {"objects": ["x" * (1 << 20)]})


def test_the_subject_says_for_which_workspace_and_as_whom(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["requests", "subject", "withdraw", "--workspace", "root:a.b", "--user", "alice@example.com"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out.strip()
    assert printed == "moorage.requests.root=3Aa=2Eb.alice=40example=2Ecom.withdraw"
    assert RequestSubject.parse(printed) == ("root:a.b", "alice@example.com", "withdraw")


def test_nobody_asks_without_saying_who_they_are() -> None:
    with pytest.raises(UsageError, match="--user or MOORAGE_USER"):
        subject(AskerSettings(workspace="root:a"), "place")
