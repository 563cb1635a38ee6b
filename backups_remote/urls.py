"""The routes, to be included under ``api/remote/``. None ends in a slash: daemons send none."""

from django.db import connections, transaction
from django.urls import path
from django.urls.resolvers import URLPattern

from backups_remote.views import BackupView, RemoteView, RestoreView

app_name = "backups_remote"


def _route(route: str, view_class: type[RemoteView], name: str) -> URLPattern:
    view = view_class.as_view()
    # A store call must never wait inside the transaction of a host's ATOMIC_REQUESTS.
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return path(route, view, name=name)


urlpatterns = [
    _route("backups/<str:backup>", BackupView, "backup"),
    _route("backups/<str:backup>/restore", RestoreView, "restore"),
]
