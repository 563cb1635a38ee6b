"""Its routes: ours, and a DRF view of its own."""

from django.urls import include, path
from rest_framework.exceptions import NotFound
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.views import APIView


class Teapot(APIView):
    """Fails, under the host's exception handler and renderer."""

    authentication_classes = permission_classes = throttle_classes = parser_classes = ()
    content_negotiation_class = DefaultContentNegotiation
    versioning_class = None

    def get(self, request):
        raise NotFound


urlpatterns = [
    path("api/remote/", include("backups_remote.urls")),
    path("teapot", Teapot.as_view()),
]
