"""The host project's routes, and one for what no node may do: delete a backup."""

from django.db import DatabaseError
from django.http import HttpResponse
from django.urls import include, path

from backups_remote import lifecycle
from backups_remote.exceptions import BackupsRemoteError
from backups_remote.models import Backup


def delete(request, backup):
    """Delete a backup as a panel's own code would."""
    try:
        found = Backup.objects.filter(uuid=backup).first()
        if found is None:
            return HttpResponse(status=404)
        lifecycle.delete_backup(found)
    except (BackupsRemoteError, DatabaseError) as error:
        return HttpResponse(str(error), status=503)
    return HttpResponse(status=204)


urlpatterns = [
    # Under the daemon's own prefix, so that the tests' client reaches it; a GET needs no CSRF token.
    path("api/remote/backups/<uuid:backup>/delete", delete),
    path("", include("panel_site.urls")),
]
