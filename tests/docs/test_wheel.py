"""What is shipped: the wheel, in a new project that follows the README to the letter."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import uuid
import venv
import zipfile
from pathlib import Path
from types import SimpleNamespace

import django
import pytest
import yaml

from backups_remote.testing.daemon import StandInDaemon
from panel_site.gunicorn import Gunicorn

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "backups_remote"
MIB = 1024**2
FIRST = "Your first backup"
MODELS = "backups_remote.models"

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def new_python(tmp_path_factory):
    """The interpreter of a new environment: what is installed here, but without the app.

    A directory in a .pth file is not searched for .pth files: the editable install stays unseen.
    """
    directory = tmp_path_factory.mktemp("environment")
    venv.create(directory, symlinks=True)
    dependencies = tmp_path_factory.mktemp("dependencies")
    for path in Path(django.__file__).parents[1].iterdir():
        if "backups_remote" not in path.name:
            (dependencies / path.name).symlink_to(path)
    (site,) = directory.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(str(dependencies))
    return directory / "bin/python"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the repository: a build leaves things in its source tree."""
    source = tmp_path_factory.mktemp("source")
    leave = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("backups_remote", "panel_site", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=leave)
    return source


@pytest.fixture(scope="module")
def wheel(new_python, source):
    """The wheel, built as the README says, with the setuptools that is here already."""
    program, *arguments = installing()[0]
    assert program == "python"
    run(new_python, *arguments, "--no-build-isolation", cwd=source)
    (built,) = (source / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def python(new_python, source, wheel):
    """The interpreter of the environment into which the wheel is installed as the README says."""
    program, *arguments = installing()[1]
    assert program == "python"
    run(new_python, *arguments, cwd=source)
    return new_python


def run(*command, cwd=None, environment=None):
    """What a command printed; it must succeed, a project's own without a complaint."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment or clean_environment(),
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    assert environment is None or not done.stderr, f"{command}:\n{done.stderr}"
    return done.stdout


def clean_environment(**more):
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "BACKUPS_", "DATABASE_", "DJANGO_", "PYTHON"))
    }
    # Whatever is not here already is missing: nothing is fetched.
    return kept | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INDEX": "1"} | more


def names_in(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def steps(language, heading="Install"):
    """The code blocks of a section of the README."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    way = readme.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", way, re.MULTILINE | re.DOTALL)


def installing():
    """The words of the README's two lines that build and install the wheel."""
    build, install = map(shlex.split, steps("sh")[0].splitlines())
    return build, install


def test_the_wheel_holds_the_app_and_nothing_else(wheel):
    names = names_in(wheel)
    ours = {
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if ".dist-info/" not in name} == ours
    assert "backups_remote/py.typed" in names
    assert "backups_remote/migrations/0001_initial.py" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_readme_names_this_wheel(wheel):
    assert installing()[1][-1] == f"dist/{wheel.name}[wings]"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """The daemon of the README's node."""
    with StandInDaemon(tmp_path_factory.mktemp("node")) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def project(python, store, daemon, tmp_path_factory):
    """A new project, the app added to it as the README says."""
    directory = tmp_path_factory.mktemp("project")
    environment = clean_environment(
        BACKUPS_ACCESS_KEY=store.access_key, BACKUPS_SECRET_KEY=store.secret_key
    )
    run(python, "-m", "django", "startproject", "mine", directory)
    settings, storages, urls = steps("python")
    assert f'"bucket_name": "{store.bucket}"' in settings
    # A new project is one without STORAGES.
    assert "STORAGES" not in (directory / "mine/settings.py").read_text()
    for name, code in (("settings", storages), ("settings", settings), ("urls", urls)):
        with (directory / f"mine/{name}.py").open("a") as file:
            file.write("\n" + code.replace("https://s3.example.com", store.endpoint))

    def manage(*arguments):
        return run(
            python, "-W", "error", "manage.py", *arguments, cwd=directory, environment=environment
        )

    said = {}
    for words in commands(steps("sh")[1].replace("https://fra-1.example.com:8080", daemon.url)):
        said[words[0]] = manage(*words)
    return SimpleNamespace(
        directory=directory, environment=environment, manage=manage, python=python, said=said
    )


def commands(block):
    """The words behind ``python manage.py`` of each line."""
    lines = [shlex.split(line) for line in block.splitlines()]
    assert {tuple(words[:2]) for words in lines} == {("python", "manage.py")}
    return [words[2:] for words in lines]


@pytest.fixture
def panel(project):
    """The project, served."""
    with Gunicorn(
        "mine.wsgi",
        project.directory / "server.log",
        env=project.environment,
        directory=project.directory,
        python=project.python,
    ) as gunicorn:
        yield gunicorn.url


def test_new_project_makes_a_backup_and_restores_it(project, panel, daemon):
    where = project.manage(
        "shell", "-v", "0", "-c", "import backups_remote; print(backups_remote.__file__)"
    )
    assert Path(where.strip()).is_relative_to(project.python.parents[1])
    assert project.said["check"] == "System check identified no issues (0 silenced).\n"
    assert project.manage("makemigrations", "--check", "--dry-run") == "No changes detected\n"

    configuration = yaml.safe_load(project.said["create_node"])
    assert set(yaml.safe_load(steps("yaml")[0])) == set(configuration)
    daemon.connect(panel, configuration["token_id"], configuration["token"])
    (add_server,) = steps("python", FIRST)
    (begin,), (look, restore) = map(commands, steps("sh", FIRST))
    server = uuid.UUID(begin[1])
    world = daemon.add_server(server) / "level.dat"
    world.write_bytes(before := os.urandom(6 * MIB))

    project.manage("shell", "-v", "0", "-c", add_server)
    backup, outcome = project.manage(*begin).splitlines()
    assert outcome.startswith("completed: 6,")
    world.write_bytes(b"changed")
    (line,) = project.manage(*look).splitlines()[1:]
    assert line.split()[:2] == [backup, "completed"]
    assert line.endswith("First")

    assert restore[1] == "BACKUP"
    said = project.manage(restore[0], backup, *restore[2:])
    assert said == f"restoring {backup} onto {server}\nrestored\n"
    assert world.read_bytes() == before
    is_idle = f"from {MODELS} import Server; print(Server.objects.get().status)"
    assert project.manage("shell", "-v", "0", "-c", is_idle) == "None\n"

    (cron,) = steps("cron", "Run the sweep")
    arguments = shlex.split(cron.partition("manage.py ")[2])
    assert project.manage(*arguments) == "0 expired, 0 errors.\n"
