"""The floor of a small request: what DRF costs for a node that is let in, and no more."""

from rest_framework.permissions import BasePermission
from rest_framework.response import Response
from rest_framework.views import APIView

from backups_remote.authentication import NodeAuthentication


class IsNode(BasePermission):
    def has_permission(self, request, view):
        return request.auth is not None


class EmptyView(APIView):
    """Authenticated as the API is, otherwise as DRF comes."""

    authentication_classes = [NodeAuthentication]
    permission_classes = [IsNode]

    def get(self, request):
        return Response({})

    def post(self, request):
        return Response(request.data and {})
