"""The API, the plain implementation, and the empty view."""

from django.urls import include, path

from benchmarks.site import baseline, empty

urlpatterns = [
    path("api/remote/backups/<uuid:backup>/plain", baseline.BackupView.as_view()),
    path("api/remote/empty", empty.EmptyView.as_view()),
    path("", include("panel_site.urls")),
]
