"""The API itself, the plain implementation, and views that do nothing."""

from django.urls import include, path

from benchmarks.site import baseline, empty

urlpatterns = [
    path("api/remote/backups/<uuid:backup>/plain", baseline.BackupView.as_view()),
    path("api/remote/empty", empty.EmptyView.as_view()),
    path("", include("panel_site.urls")),
]
