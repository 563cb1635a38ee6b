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
from django.core.management import get_commands, load_command_class
from django.db import DatabaseError
from rest_framework.exceptions import (
    AuthenticationFailed,
    MethodNotAllowed,
    NotAuthenticated,
    ParseError,
)

from backups_remote import conf, lifecycle, signals
from backups_remote.bodies import BodyNotReceived, BodyTooLarge
from backups_remote.error_responses import error_response
from backups_remote.exceptions import (
    BackupLocked,
    BackupsRemoteError,
    DaemonError,
    InvalidValue,
    RestoreRefused,
    StatusChanged,
)
from backups_remote.models import Backup, Node, Server
from backups_remote.views import RemoteView
from benchmarks import report
from tests.reliability.test_guards import MOVES

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

pytestmark = pytest.mark.once


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def section(page, heading):
    """A section of a page, up to the next heading of its rank or higher."""
    rank = heading.partition(" ")[0]
    _, found, rest = f"\n{read(page)}".partition(f"\n{heading}\n")
    assert found, f"{page} has no {heading!r}"
    return re.split(rf"\n#{{1,{len(rank)}}} ", without_code(rest, keep=True))[0]


def without_code(text, *, keep=False):
    """``text`` without code blocks, or with their lines indented so that none is a heading."""
    return re.sub(
        r"^```.*?^```$",
        lambda m: m[0].replace("\n", "\n ") if keep else "",
        text,
        flags=re.MULTILINE | re.DOTALL,
    )


def rows(page, heading):
    """The cells of a section's first table."""
    table = re.search(r"^\| .*\n(\| .*\n)+", section(page, heading), re.MULTILINE)
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


def test_the_readme_leads_from_the_first_look_to_the_other_pages():
    opening, *parts = re.split(
        r"^## ", without_code(read("README.md"), keep=True), flags=re.MULTILINE
    )
    shown = [opening.index(sign) for sign in ("A reusable Django app", "make demo", "![")]
    assert shown == sorted(shown)
    assert [part.partition("\n")[0] for part in parts] == [
        "Install",
        "Your first backup",
        "Run the sweep",
        "Speed",
        "Read on",
    ]


def test_the_index_names_every_page_with_a_sentence():
    listed = dict(
        re.findall(r"^- \[([^\]]+)\]\([^)]+\): (.+)$", read("docs/index.md"), re.MULTILINE)
    )
    pages = {path.name for path in (ROOT / "docs").iterdir() if path.is_file()} - {"index.md"}
    assert set(listed) == pages | {path.name for path in ROOT.glob("*.md")} - {"README.md"}
    assert all(sentence.endswith(".") for sentence in listed.values())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_exist(page):
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
    table = {
        named(key)[0]: named(default)[0]
        for key, default, _ in rows("docs/settings.md", "## BACKUPS_REMOTE")
    }
    values = {key: eval(default, {"timedelta": dt.timedelta}) for key, default in table.items()}
    assert values == dict(conf.DEFAULTS)
    assert list(values) == list(conf.DEFAULTS)


def test_the_sites_environment_is_in_the_table():
    table = {
        name
        for variables, _ in rows("docs/settings.md", "## panel_site")
        for name in named(variables)
    }
    source = read("panel_site/settings.py")
    variables = re.findall(r'environ(?:\.get\(|\[)\s*"(\w+)"', source)
    assert table == set(variables)


def test_every_check_is_in_the_table():
    table = rows("docs/operations.md", "## System checks")
    documented = {named(identifier)[0] for identifier, _ in table}
    assert len(documented) == len(table)
    source = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "backups_remote").rglob("*.py")
    )
    emitted = set(re.findall(r'id="(backups_remote\.[EWC]\d{3})"', source))
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
        for command, options in rows("docs/operations.md", "## Commands")
    }
    assert table == {name: options_of(name) for name in commands()}


def test_command_lines_shown_are_understood():
    shown = [
        line
        for page in PAGES
        for line in re.findall(r"manage\.py (\w+)([^\n`]*)", page.read_text(encoding="utf-8"))
    ]
    assert {name for name, _ in shown} - set(commands()) <= set(get_commands())
    ours = [(name, arguments) for name, arguments in shown if name in commands()]
    assert {name for name, _ in ours} == set(commands())
    for name, arguments in ours:
        parser = load_command_class("backups_remote", name).create_parser("manage.py", name)
        parser.allow_abbrev = False
        parser.parse_args(arguments.split())


def test_make_targets_shown_exist():
    makefile = read("Makefile")
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
    asked = {"request_parts", "request_upload"}
    inner = {"find_backup_made_by", "find_backup_restorable_on", *asked}
    documented = set()
    for cell, _ in rows("docs/python-api.md", "## Functions"):
        for shown in named(cell):
            name, _, arguments = shown.rstrip(")").partition("(")
            documented.add(name)
            parameters = inspect.signature(getattr(lifecycle, name)).parameters
            for argument in filter(None, arguments.split(", ")):
                assert argument.rstrip("=") in parameters, shown
                keyword = parameters[argument.rstrip("=")].kind is inspect.Parameter.KEYWORD_ONLY
                assert keyword == argument.endswith("="), shown
    assert documented == {n for n in lifecycle.__all__ if n.islower()} - inner


def test_every_signal_is_in_the_table():
    documented = {named(cell)[0] for cell, *_ in rows("docs/python-api.md", "## Signals")}
    assert documented == {n for n, v in vars(signals).items() if isinstance(v, signals.Signal)}


def public():
    """Module → the names that docs/python-api.md calls public."""
    table = rows("docs/python-api.md", "## What is public")
    return {named(module)[0]: named(names) for module, names in table}


@pytest.mark.parametrize("module", public())
def test_every_public_name_exists(module):
    found = importlib.import_module(module)
    assert [name for name in public()[module] if not hasattr(found, name)] == []
    assert len(set(public()[module])) == len(public()[module])


@pytest.mark.parametrize("module", ["lifecycle", "daemon", "storage", "testing", "testing.daemon"])
def test_what_a_package_exports_is_public(module):
    found = importlib.import_module(f"backups_remote.{module}")
    assert set(public()[f"backups_remote.{module}"]) == set(found.__all__)


@pytest.mark.parametrize("module", ["exceptions", "types"])
def test_every_class_of_the_shared_modules_is_public(module):
    found = importlib.import_module(f"backups_remote.{module}")
    own = {n for n, v in vars(found).items() if getattr(v, "__module__", "") == found.__name__}
    assert set(public()[f"backups_remote.{module}"]) == own


def test_columns_that_save_writes_are_in_the_table():
    table = {
        named(model)[0]: named(columns)
        for model, columns in rows("docs/python-api.md", "## What save() writes")
    }
    assert table == {
        model.__name__: model(pk=1).writable_fields() for model in (Backup, Server, Node)
    }


def test_every_error_code_is_in_the_table_with_its_status():
    table = rows("docs/http-api.md", "## Errors")
    documented = {code: status for codes, status, _ in table for code in named(codes)}
    # No endpoint raises these, or only what derives from them.
    others = {BackupsRemoteError, BackupLocked, InvalidValue, RestoreRefused, StatusChanged}
    for kind in descendants(BackupsRemoteError) - descendants(DaemonError) - others:
        answers = {
            method: error_response(kind(), conflict_status=status)
            for method, status in RemoteView.conflict_statuses.items()
        }
        code = answers["GET"].data["errors"][0]["code"]
        statuses = {method: str(answer.status_code) for method, answer in answers.items()}
        said = documented.pop(code)
        assert said == statuses["GET"] or said == ", ".join(
            f"{status} {method}" for method, status in statuses.items()
        )
    own = {"body_not_received": 503, "body_too_large": 413, "database_unavailable": 503}
    assert error_response(DatabaseError()).data["errors"][0]["code"] in own
    for error in (BodyTooLarge, BodyNotReceived):
        assert (error.default_code, error.status_code) in own.items()
    for kind in (NotAuthenticated, AuthenticationFailed, MethodNotAllowed, ParseError):
        own[kind.default_code] = kind.status_code
    required = dict.fromkeys(("required", "invalid", "null"), 400)
    assert documented == {code: str(status) for code, status in {**own, **required}.items()}


def descendants(kind):
    return {kind}.union(*(descendants(derived) for derived in kind.__subclasses__()))


def test_every_state_is_drawn():
    for page in ("docs/http-api.md", "docs/architecture.md"):
        assert [state.name for state in Backup.State if state.name not in read(page)] == []
    table = rows("docs/http-api.md", "## States")
    assert [name for name, _ in table] == [state.name for state in Backup.State]


def test_the_glossary_is_in_order_and_has_every_term():
    terms = [term for term, _ in rows("docs/glossary.md", "# Glossary")]
    assert terms == sorted(terms, key=str.lower)
    wanted = "backup part upload report settle claim lease orphan stale sweep disk node mark"
    assert {*wanted.split(), "recovered", "verified", "quiet period"} <= set(terms)


def test_modules_are_short():
    """CONTRIBUTING.md says so. Released migrations are as they are."""
    (limit,) = re.findall(
        r"No module of the app is longer than (\d+) lines", read("CONTRIBUTING.md")
    )
    modules = [
        path for path in (ROOT / "backups_remote").rglob("*.py") if path.parent.name != "migrations"
    ]
    too_long = {path.name for path in modules if len(path.read_text().splitlines()) > int(limit)}
    assert not too_long


def test_the_map_of_behaviours_names_files_that_exist():
    table = rows("CONTRIBUTING.md", "## Where is what?")
    assert len({behaviour for behaviour, _ in table}) == len(table) >= 30
    assert [path for _, cell in table for path in named(cell) if not (ROOT / path).is_file()] == []
    assert all(len(named(cell)) == 1 for _, cell in table)


def test_every_file_that_contributing_names_exists():
    words = [word for code in named(without_code(read("CONTRIBUTING.md"))) for word in code.split()]
    paths = [word for word in words if re.fullmatch(r"(backups_remote|docs|tests)/[\w/.]*", word)]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_safeguard_that_contributing_shows_is_one_of_the_catalogue():
    (shown,) = re.findall(
        r"^```toml\n(.*?)^```$", read("CONTRIBUTING.md"), re.MULTILINE | re.DOTALL
    )
    catalogue = tomllib.loads(read("tests/reliability/safeguards.toml"))
    (entry,) = tomllib.loads(shown)["safeguard"]
    assert entry in catalogue["safeguard"]


def test_every_transition_is_in_the_table_with_the_states_it_may_leave():
    house = read("docs/architecture.md")
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
    house = read("docs/architecture.md")
    rooms = {
        path.name if path.suffix else f"{path.name}/"
        for path in (ROOT / "backups_remote").iterdir()
        if not path.name.startswith("_") and path.name != "py.typed"
    }
    assert [room for room in sorted(rooms) if f"`{room}`" not in house] == []


def test_the_changelog_knows_this_version():
    project = tomllib.loads(read("pyproject.toml"))["project"]
    heading = rf"^## \[{re.escape(project['version'])}\]"
    assert re.search(heading, read("CHANGELOG.md"), re.MULTILINE)
    assert f"-{project['version']}-" in read("README.md")


def test_documented_numbers_equal_the_constants():
    from backups_remote.admin.search import READ_FOR_NAMES
    from backups_remote.bodies import LARGEST_BODY
    from backups_remote.lifecycle.complete import QUIET_PERIOD
    from backups_remote.lifecycle.lease import LEASE, RENEW_EVERY
    from backups_remote.lifecycle.rules.age import LATE_OBJECT_WINDOW
    from backups_remote.lifecycle.sweep.staleness import REFUSAL_GRACE
    from backups_remote.storage.s3.clients import COMPLETE_TIMEOUT

    notes = section("docs/operations.md", "### Workers")
    assert f"up to {COMPLETE_TIMEOUT} seconds" in notes
    assert f"ends within {LEASE.seconds} seconds" in notes
    assert f"For {QUIET_PERIOD.seconds // 60} minutes that upload" in notes
    timeout = int(re.search(r"--timeout (\d+)", notes)[1])
    assert timeout > COMPLETE_TIMEOUT
    assert f"newest {READ_FOR_NAMES:,} only" in section("docs/admin.md", "## The list of backups")
    terms = dict(rows("docs/glossary.md", "# Glossary"))
    assert f"within {LEASE.seconds} seconds" in terms["lease"]
    assert terms["quiet period"].startswith(f"{QUIET_PERIOD.seconds // 60} minutes")
    house = read("docs/architecture.md")
    assert f"newest {READ_FOR_NAMES:,} backups" in house
    assert f"claims it for {LEASE.seconds} seconds" in house
    assert f"renews that every {RENEW_EVERY:.0f} seconds" in house
    assert f"quiet period of {QUIET_PERIOD.seconds // 60} minutes" in house
    assert f"for {LATE_OBJECT_WINDOW.days} days after it has failed" in house
    assert f"not waited for longer than {REFUSAL_GRACE.seconds // 60} minutes" in house
    assert f"{LARGEST_BODY // 1024**2} MiB" in section("docs/http-api.md", "## Errors")
    assert f"{LARGEST_BODY // 1024**2} MiB" in section("SECURITY.md", "## What is promised")


def test_the_figures_that_readme_quotes_are_those_of_the_benchmarks():
    quoted = read("README.md").partition("<!-- speed -->")[2]
    measured = read("docs/benchmarks.md")
    time, factor, ratio = re.search(
        r"answer in ([\d.]+ ms), (\d+) times .* takes ([\d.]+) times", quoted
    ).groups()
    faster = re.search(rf"plain DRF \+ boto3 \| {re.escape(time)} \|[^|]+\| ([\d.]+)×", measured)
    assert round(float(faster[1])) == int(factor)
    assert f"floor | {ratio}× |" in measured


def test_the_benchmarks_page_has_the_words_that_the_benchmarks_write():
    assert read("docs/benchmarks.md").startswith(report.INTRODUCTION)
    assert read("docs/benchmarks.md").endswith(report.METHOD)


def test_every_test_file_that_shows_a_promise_exists():
    shown = " ".join(cell for *_, cell in rows("docs/reliability.md", "## What is promised"))
    files = re.findall(r"[\w/]+\.py", shown)
    paths = [ROOT / file if "/" in file else ROOT / "tests/reliability" / file for file in files]
    assert paths
    assert [path.name for path in paths if not path.is_file()] == []


def test_every_promise_names_tests_that_exist():
    """Behind a file, in brackets, are words of the names of its tests."""
    shown = [cells[-1] for cells in rows("docs/reliability.md", "## What is promised")]
    assert len(shown) > 60
    unknown = []
    for cell in shown:
        for file, words in re.findall(r"`([\w/]+\.py)`(?: \(([^)]*)\))?", cell):
            path = ROOT / (file if file.startswith("tests/") else f"tests/reliability/{file}")
            names = re.findall(r"def (\w+)", path.read_text(encoding="utf-8"))
            for word in filter(None, re.split(r",\s*", words)):
                name = re.sub(r"\W+", "_", word.strip("`").lower())
                if not any(name in test for test in names):
                    unknown.append(f"{file}: {word}")
    assert unknown == []
