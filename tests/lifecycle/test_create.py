"""Starting a backup: what is accepted, and what is refused before the database is asked."""

from __future__ import annotations

import pytest

from backups_remote import lifecycle
from backups_remote.exceptions import BackupsRemoteError, InvalidValue, ServerNotFound
from backups_remote.models import Backup, Server
from tests.support.factories import ServerFactory

pytestmark = [pytest.mark.databases, pytest.mark.django_db, pytest.mark.usefixtures("memory")]


def test_ignored_files_must_be_a_list_of_strings():
    with pytest.raises(TypeError, match="not one string"):
        lifecycle.start_backup(ServerFactory(), ignored_files="logs/*")
    with pytest.raises(TypeError, match="every pattern"):
        lifecycle.start_backup(ServerFactory(), ignored_files=[1])
    assert not Backup.objects.exists()


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("name", "x" * 192, "192 characters are more than 191"),
        ("name", "a\0b", "a NUL character"),
        ("name", "a\ud800b", "half of a surrogate pair"),
        ("ignored_files", ["logs/*", "a\0b"], "a NUL character"),
        ("ignored_files", ["\udfff"], "half of a surrogate pair"),
    ],
)
def test_text_that_no_database_stores_is_refused(field, value, problem, django_assert_num_queries):
    server = ServerFactory()
    with (
        django_assert_num_queries(0),
        pytest.raises(InvalidValue, match=f"^{field}: .*{problem}") as refused,
    ):
        lifecycle.start_backup(server, **{field: value})
    assert isinstance(refused.value, ValueError)
    assert isinstance(refused.value, BackupsRemoteError)
    assert not Backup.objects.exists()


def test_text_of_any_characters_is_kept():
    name, patterns = "ü\n🗄" * 63, ["*.🗄", "\x01"]
    lifecycle.start_backup(ServerFactory(), name=name, ignored_files=patterns)
    found = Backup.objects.get()
    assert (found.name, found.ignored_files) == (name, patterns)


def test_server_that_is_gone_is_an_error_of_the_package():
    server = ServerFactory()
    Server.objects.filter(pk=server.pk).delete()
    with pytest.raises(ServerNotFound):
        lifecycle.start_backup(server)
    with pytest.raises(ServerNotFound):
        lifecycle.rotate_backups(server)
