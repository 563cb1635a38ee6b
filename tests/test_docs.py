"""What the documentation says is so."""

from __future__ import annotations

import ast
import datetime as dt
import importlib
import inspect
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from django.core.management import load_command_class

from backups_remote import checks, conf, lifecycle, signals
from backups_remote.models import Backup
from tests.reliability.test_guards import MOVES

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]

pytestmark = pytest.mark.once


def section(heading):
    """A section of the README, up to the next heading of its rank or higher."""
    rank = heading.partition(" ")[0]
    _, found, rest = f"\n{README}".partition(f"\n{heading}\n")
    assert found, f"the README has no {heading!r}"
    return re.split(rf"\n#{{1,{len(rank)}}} ", without_code(rest, keep=True))[0]


def without_code(text, *, keep=False):
    """``text`` without code blocks, or with their lines indented so that none is a heading."""
    return re.sub(
        r"^```.*?^```$",
        lambda m: m[0].replace("\n", "\n ") if keep else "",
        text,
        flags=re.MULTILINE | re.DOTALL,
    )


def rows(heading):
    """The cells of a section's first table."""
    table = re.search(r"^\| .*\n(\| .*\n)+", section(heading), re.MULTILINE)
    lines = table[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def named(cell):
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def snippets(language):
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        found += [pytest.param(code, id=f"{page.name}-{n}") for n, code in enumerate(blocks)]
    return found


def test_the_readme_goes_from_the_first_look_to_the_last_detail():
    opening, *parts = re.split(r"^## ", without_code(README, keep=True), flags=re.MULTILINE)
    shown = [opening.index(sign) for sign in ("A reusable Django app", "make demo", "![")]
    assert shown == sorted(shown)
    assert [part.partition("\n")[0] for part in parts] == [
        "Add it to a project",
        "Settings",
        "Reference",
        "Speed",
        "Reliability",
        "Working on it",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page):
    text = without_code(page.read_text(encoding="utf-8"))
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    broken = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def anchors(page):
    titles = re.findall(r"^#+ (.+)$", without_code(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_every_setting_is_in_the_table_with_its_default():
    table = {named(key)[0]: named(default)[0] for key, default, _ in rows("## Settings")}
    values = {key: eval(default, {"timedelta": dt.timedelta}) for key, default in table.items()}
    assert values == dict(conf.DEFAULTS)
    assert list(values) == list(conf.DEFAULTS)


def test_the_sites_environment_is_in_the_table():
    table = {name for variables, _ in rows("### panel_site") for name in named(variables)}
    source = (ROOT / "panel_site/settings.py").read_text(encoding="utf-8")
    read = set(re.findall(r'environ(?:\.get\(|\[)\s*"(\w+)"', source))
    assert table == read


def test_every_check_is_in_the_table():
    documented = {named(identifier)[0] for identifier, _ in rows("### System checks")}
    source = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "backups_remote").rglob("*.py")
    )
    emitted = set(re.findall(r'id="(backups_remote\.[EWC]\d{3})"', source))
    emitted |= {f"backups_remote.E{number:03}" for number, _, _ in checks._RULES.values()}
    emitted |= {f"backups_remote.E{int(n):03}" for n in re.findall(r"_error\(\s*(\d+)", source)}
    assert documented == emitted


def commands():
    files = (ROOT / "backups_remote/management/commands").glob("[!_]*.py")
    return {path.stem: load_command_class("backups_remote", path.stem) for path in files}


def options_of(command):
    ours = load_command_class("backups_remote", command).create_parser("manage.py", command)
    common = {"--force-color", "--help", "--no-color", "--pythonpath", "--settings"}
    common |= {"--skip-checks", "--traceback", "--verbosity", "--version"}
    return {o for a in ours._actions for o in a.option_strings if o.startswith("--")} - common


def test_every_command_is_in_the_table_with_its_options():
    table = {
        named(command)[0].split()[0]: {
            word.split()[0] for word in named(options) if word.startswith("--")
        }
        for command, options in rows("### Commands")
    }
    assert table == {name: options_of(name) for name in commands()}


def test_command_lines_shown_are_understood():
    shown = re.findall(r"manage\.py (\w+)([^\n`]*)", README)
    ours = [(name, arguments) for name, arguments in shown if name in commands()]
    assert {name for name, _ in ours} == set(commands())
    for name, arguments in ours:
        parser = load_command_class("backups_remote", name).create_parser("manage.py", name)
        parser.allow_abbrev = False
        parser.parse_args(arguments.split())


def test_make_targets_shown_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in PAGES:
        for target in re.findall(r"(?:`|^)make (\w+)", page.read_text("utf-8"), re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), (page.name, target)


@pytest.mark.parametrize("code", snippets("python"))
def test_python_snippets_name_what_exists(code):
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("backups_remote"):
            module = importlib.import_module(node.module)
            for name in node.names:
                assert hasattr(module, name.name), (node.module, name.name)
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("lifecycle."):
            verb = getattr(lifecycle, node.func.attr)
            keywords = {keyword.arg: None for keyword in node.keywords}
            inspect.signature(verb).bind(*node.args, **keywords)


@pytest.mark.parametrize("code", snippets("yaml"))
def test_yaml_snippets_are_yaml(code):
    assert set(yaml.safe_load(code)) == {"uuid", "token_id", "token", "remote"}


def test_every_verb_is_in_the_table_with_its_arguments():
    inner = {"find_backup_made_by", "find_backup_restorable_on", "request_upload"}
    documented = set()
    for cell, _ in rows("### Python API"):
        for shown in named(cell):
            name, _, arguments = shown.rstrip(")").partition("(")
            documented.add(name)
            parameters = inspect.signature(getattr(lifecycle, name)).parameters
            for argument in filter(None, arguments.split(", ")):
                assert argument.rstrip("=") in parameters, shown
                keyword = parameters[argument.rstrip("=")].kind is inspect.Parameter.KEYWORD_ONLY
                assert keyword == argument.endswith("="), shown
    assert documented == {n for n in lifecycle.__all__ if n.islower()} - inner


def test_every_signal_is_named():
    for name, value in vars(signals).items():
        if isinstance(value, signals.Signal):
            assert name in section("### Python API")


def test_every_state_is_drawn():
    for page in (README, (ROOT / "docs/architecture.md").read_text(encoding="utf-8")):
        assert [state.name for state in Backup.State if state.name not in page] == []


def test_every_transition_is_in_the_table_with_the_states_it_may_leave():
    house = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    table = {
        name: [set(re.findall("[A-Z]+", states)) for states in (before, after)]
        for name, before, after in re.findall(
            r"^\| `(\w+)` \| (.+?) → (.+?) \|", house, re.MULTILINE
        )
    }
    drawn = {
        name for name, verb in vars(Backup).items() if "→" in (getattr(verb, "__doc__", "") or "")
    }
    assert drawn <= set(table)
    for name, (before, after) in table.items():
        said = inspect.getdoc(getattr(Backup, name)).partition(".")[0]
        if name in drawn:
            assert re.search(r"→ (\w+)", said)[1] in after
        # What test_guards tries on a row in each state.
        allowed = MOVES[name][1] if name in MOVES else set()
        assert not allowed or before == {state.name for state in allowed}, name


def test_every_room_is_described():
    house = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rooms = {
        path.name if path.suffix else f"{path.name}/"
        for path in (ROOT / "backups_remote").iterdir()
        if not path.name.startswith("_") and path.name != "py.typed"
    }
    assert [room for room in sorted(rooms) if f"`{room}`" not in house] == []


def test_the_changelog_knows_this_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(project['version'])}\]", changelog, re.MULTILINE)
    assert f"-{project['version']}-" in README


def test_the_numbers_of_the_readme_are_the_codes():
    from backups_remote.admin.searching import READ_FOR_NAMES
    from backups_remote.lifecycle.settling import CLAIM
    from backups_remote.storage.s3 import COMPLETE_TIMEOUT
    from backups_remote.views import LARGEST_BODY

    notes = section("### Operating notes")
    assert f"up to {COMPLETE_TIMEOUT} seconds" in notes
    assert f"for {CLAIM.seconds // 60} minutes." in notes
    timeout = int(re.search(r"--timeout (\d+)", notes)[1])
    assert CLAIM.seconds > timeout > COMPLETE_TIMEOUT
    assert f"newest {READ_FOR_NAMES:,} only" in section("### Admin")
    house = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert f"newest {READ_FOR_NAMES:,} backups" in house
    assert f"for {CLAIM.seconds // 60} minutes," in house
    assert f"{LARGEST_BODY // 1024**2} MiB" in section("### Endpoints")


def test_the_figures_that_readme_quotes_are_those_of_the_benchmarks():
    quoted = (ROOT / "README.md").read_text(encoding="utf-8").partition("<!-- speed -->")[2]
    measured = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    time, factor, ratio = re.search(
        r"answer in ([\d.]+ ms), (\d+) times .* takes ([\d.]+) times", quoted
    ).groups()
    faster = re.search(rf"plain DRF \+ boto3 \| {re.escape(time)} \|[^|]+\| ([\d.]+)×", measured)
    assert round(float(faster[1])) == int(factor)
    assert f"floor | {ratio}× |" in measured
