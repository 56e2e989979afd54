"""What the documents say is what the code does: request map, settings, commands, make targets, links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from django.core.management import get_commands

from gateway import pipeline
from gateway.management.commands.settings_reference import reference
from governance.configuration import parse, schema

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def request_map(text: str) -> dict[str, set[str]]:
    """Step → files, from the rows `| 1 authenticate | … |` of a table."""
    rows = re.findall(r"^\| (\d \w+) \|(.*)$", text, re.MULTILINE)
    return {step: set(re.findall(r"`([a-z_]+/[\w./*]+)`", rest)) for step, rest in rows}


def test_the_request_map_is_the_architecture() -> None:
    of_readme = request_map(README)
    assert len(of_readme) == 8
    assert of_readme == request_map((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))


def test_every_file_of_the_request_map_exists() -> None:
    for step, files in request_map(README).items():
        for name in files:
            assert list(ROOT.glob(name)), f"step {step} names {name}, which does not exist"


def test_the_steps_are_those_of_the_pipeline_in_their_order() -> None:
    steps = [step.split()[1] for step in request_map(README)][:6]
    source = Path(pipeline.__file__).read_text(encoding="utf-8")
    flow = source[source.index("async def messages(") :]
    places = [re.search(rf"\b_?{step}\(", flow) for step in steps]
    assert all(places), steps
    assert [place.start() for place in places if place] == sorted(place.start() for place in places if place)


def test_the_settings_reference_is_the_code() -> None:
    made = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert made == reference(), "run: manage.py settings_reference > docs/settings.md"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_commands_of_a_document_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (document.parent / link).exists(), f"{document.name} links to {link}"
    for command in re.findall(r"manage\.py ([a-z_]+)", text):
        assert command in get_commands(), f"{document.name} names manage.py {command}"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"[`\n ]make (run|test|bench|install|\w+)(?=[`\s])", text):
        if f"`make {target}" in text or f"    make {target}" in text:
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{document.name} names make {target}"


def test_the_configuration_document_names_every_field() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert parse(example).customers[0].teams[0].keys[0].secret_env == "ADA_KEY"
    fields = {
        name
        for kind in vars(schema).values()
        if isinstance(kind, type) and kind.__module__ == schema.__name__
        for name in kind.__dataclass_fields__  # type: ignore[attr-defined]
    }
    inline = re.findall(r"`[^`\n]+`", text.partition("## Fields")[2])
    told = set(re.findall(r"[a-z_]+", " ".join([*inline, example])))
    assert fields - told == set()


def test_compose_runs_the_parts_that_the_deployment_document_names() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    text = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    for name in ("gateway", "worker", "beat"):
        assert " ".join(services[name]["command"]) in text, f"deployment.md runs {name} another way"
    copied = re.findall(r"^COPY (\w+) \w+$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(copied) == {"gateway", "observability", "governance", "templates"}
