"""Objects in files, as they are read."""

import json
from pathlib import Path

from services.cli.support.manifests import read


def test_objects_of_json_are_read_however_they_are_laid_out(tmp_path: Path) -> None:
    objects = [{"kind": "ConfigMap", "metadata": {"name": f"c{number}"}} for number in range(3)]
    lines = "\n".join(map(json.dumps, objects))
    laid_out = {
        "lines": lines,
        "lines with empty ones": lines.replace("\n", "\r\n\n") + "\n \n",
        "several in a line": lines.replace("\n", " "),
        "over several lines": "\n".join(json.dumps(each, indent=1) for each in objects),
        "one list": json.dumps({"kind": "List", "items": objects}, indent=1),
    }
    for name, text in laid_out.items():
        (tmp_path / "objects.json").write_text(text)
        assert read(str(tmp_path / "objects.json")) == objects, name
