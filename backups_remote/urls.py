"""The routes, to be included under ``api/remote/``. No route ends in a slash: daemons send none."""

from django.db import connections, transaction
from django.urls import path
from django.urls.resolvers import URLPattern

from backups_remote.views import BackupView, DeletionView, PartsView, RemoteView, RestoreView

app_name = "backups_remote"


def remote_route(route: str, view_class: type[RemoteView], name: str) -> URLPattern:
    """A route that is exempt from the host project's ATOMIC_REQUESTS."""
    view = view_class.as_view()
    # No store call may run inside a transaction of the host project's ATOMIC_REQUESTS.
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)  # safeguard: no-atomic-requests
    return path(route, view, name=name)


urlpatterns = [
    remote_route("backups/<str:backup>", BackupView, "backup"),
    remote_route("backups/<str:backup>/s3/parts", PartsView, "parts"),
    remote_route("backups/<str:backup>/restore", RestoreView, "restore"),
    remote_route("backups/<str:backup>/deletion", DeletionView, "deletion"),
]
