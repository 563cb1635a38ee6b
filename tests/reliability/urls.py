"""The host project's routes, and one for what no node may do: the verbs of a panel's own code."""

from django.db import DatabaseError
from django.http import HttpResponse
from django.urls import include, path

from backups_remote import lifecycle
from backups_remote.exceptions import BackupsRemoteError
from backups_remote.models import Backup

VERBS = {
    "delete": lifecycle.delete_backup,
    "lock": lifecycle.lock_backup,
    "rotate": lambda backup: lifecycle.rotate_backups(backup.server),
}


def call(request, backup, verb):
    """Call a verb of the lifecycle as a panel's own code would."""
    try:
        found = Backup.objects.filter(uuid=backup).first()
        if found is None:
            return HttpResponse(status=404)
        VERBS[verb](found)
    except (BackupsRemoteError, DatabaseError) as error:
        return HttpResponse(str(error), status=503)
    return HttpResponse(status=204)


urlpatterns = [
    # Under the daemon's own prefix, so that the tests' client reaches it; a GET needs no CSRF token.
    path("api/remote/backups/<uuid:backup>/panel/<str:verb>", call),
    path("", include("panel_site.urls")),
]
