"""What the documents name exists: commands with their options, benchmarks, targets, suites, files, names and links."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pipeline.cli import cli
from tests.conftest import ROOT

DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "experiments" / "results" / "README.md"])
BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
PROGRAMS = ("pipeline", "python", "make")


def prose(path: Path) -> str:
    """Return a document without its blocks of code."""
    return BLOCK.sub("", path.read_text())


def spans(path: Path) -> list[str]:
    """Return what stands between backticks in a document, each on one line."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(path))]


def commands(path: Path) -> Iterator[list[str]]:
    """Yield the words of each command of a document, of its blocks and its prose, as far as they are written out."""
    blocks = [text for language, text in BLOCK.findall(path.read_text()) if language == "bash"]
    for line in [line for text in blocks for line in text.replace("\\\n", " ").splitlines()] + spans(path):
        if line.startswith(PROGRAMS) and "…" not in line:
            program, *words = shlex.split(line, comments=True)
            if program in PROGRAMS and words:
                yield [program, *words]


def every_command(program: str) -> list[tuple[str, list[str]]]:
    """Return the arguments of each command that begins with a program, with the document that has it."""
    found = [(path.name, words[1:]) for path in DOCUMENTS for words in commands(path) if words[0] == program]
    assert len(found) > 3  # else they were not found
    return found


@pytest.mark.parametrize(("document", "arguments"), every_command("pipeline"), ids=str)
def test_every_command_of_the_pipeline_has_these_options(document: str, arguments: list[str]) -> None:
    command: click.Command = cli
    with click.Context(cli) as context:
        while isinstance(command, click.Group) and arguments:
            command, arguments = command.commands[arguments[0]], arguments[1:]
        command.make_parser(context).parse_args(arguments)


@pytest.mark.parametrize(("document", "arguments"), every_command("python"), ids=str)
def test_every_benchmark_has_these_options(document: str, arguments: list[str]) -> None:
    script, *rest = arguments
    if script in ("-m", "-c"):
        pytest.skip("no script of ours")
    source = (ROOT / script).read_text()
    for option in (word for word in rest if word.startswith("--")):
        assert re.search(rf'["/]{option}["/]', source), (document, script, option)


@pytest.mark.parametrize(("document", "arguments"), every_command("make"), ids=str)
def test_every_target_and_suite_exists(document: str, arguments: list[str]) -> None:
    target, *settings = arguments
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), (document, target)
    for name, value in (setting.split("=", 1) for setting in settings):
        assert f"$({name})" in (ROOT / "Makefile").read_text(), (document, name)
        if name == "SUITE" and not value.isupper():
            assert (ROOT / "experiments" / "suites" / f"{value}.yaml").is_file(), (document, value)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)) + re.findall(r'src="([^"]+)"', prose(document)):
        if not re.match(r"\w+:", target):
            path, _, anchor = target.partition("#")
            file = document.parent / path if path else document
            assert file.exists(), (document.name, target)
            assert not anchor or anchor in anchors(file), (document.name, target)


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_of_the_project_exists(document: Path) -> None:
    tops = "pipeline|gan|experiments|benchmarks|docs|tests"
    for span in spans(document):
        if re.fullmatch(rf"({tops})/[\w/.-]*", span) and "NAME" not in span:
            assert (ROOT / span).exists(), (document.name, span)
        if re.fullmatch(r"(unit|integration|fuzz)/[\w/]+\.py", span):  # reliability.md names tests below tests/
            assert (ROOT / "tests" / span).exists(), (document.name, span)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_name_that_is_said_to_be_in_a_file_is_in_it(document: Path) -> None:
    for name, file in re.findall(r"`(\w+)`\s+(?:of|in)\s+`((?:pipeline|gan)/[\w/]+\.py)`", prose(document)):
        tree = ast.parse((ROOT / file).read_text())
        targets = [n.targets if isinstance(n, ast.Assign) else [n.target] for n in tree.body
                   if isinstance(n, ast.Assign | ast.AnnAssign)]  # fmt: skip
        defined = {t.id for group in targets for t in group if isinstance(t, ast.Name)}
        defined |= {n.name for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef)}
        assert name in defined, (document.name, name, file)


def messages() -> Iterator[tuple[str, str]]:
    """Yield each text of the pipeline and of gan, what is filled in as VALUE, with its file."""
    for path in [*(ROOT / "pipeline").rglob("*.py"), *(ROOT / "gan").rglob("*.py")]:
        tree = ast.parse(path.read_text())
        parts = {id(value) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for value in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                values = [str(v.value) if isinstance(v, ast.Constant) else "VALUE" for v in node.values]
                yield str(path.relative_to(ROOT)), "".join(values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
                yield str(path.relative_to(ROOT)), node.value


def test_every_command_that_a_message_names_has_these_options() -> None:
    names, found = "|".join(cli.commands), 0
    for file, message in messages():
        for name, rest in re.findall(rf"\bpipeline ({names})\b([^`\n;,:()]*)", message):
            command: click.Command = cli.commands[name]
            options = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
            assert set(re.findall(r"--[a-z][\w-]*", rest)) <= options, (file, message)
            found += 1
    assert found > 20
