"""The floor of a small request: REST framework and the authentication of a node."""

from django.contrib.auth.models import AnonymousUser
from django.utils.crypto import constant_time_compare
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.response import Response
from rest_framework.views import APIView

from backups_remote.models import Node


class UsualAuthentication(BaseAuthentication):
    """A node by its bearer token, as REST framework's own classes look a token up."""

    def authenticate(self, request):
        token_id, _, token = request.headers["Authorization"].partition(" ")[2].partition(".")
        try:
            node = Node.objects.get(token_id=token_id)
        except Node.DoesNotExist:
            raise AuthenticationFailed from None
        if not constant_time_compare(token, node.token):
            raise AuthenticationFailed
        return AnonymousUser(), node


class IsNode(BasePermission):
    def has_permission(self, request, view):
        return request.auth is not None


class EmptyView(APIView):
    """Authenticates a node; everything else is REST framework's default."""

    authentication_classes = [UsualAuthentication]
    permission_classes = [IsNode]

    def get(self, request):
        return Response({})

    def post(self, request):
        return Response(request.data and {})
