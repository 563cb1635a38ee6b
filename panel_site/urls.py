"""The host project's routes."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("api/remote/", include("backups_remote.urls")),
    path("api/remote/", include("backups_remote.urls_daemon")),
    path("admin/", admin.site.urls),
    path("", RedirectView.as_view(pattern_name="admin:index")),
]
