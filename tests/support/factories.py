"""Rows for tests."""

import datetime as dt

import factory
from django.utils import timezone

from backups_remote.models import Backup, Node, Server


class NodeFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Node

    name = factory.Sequence("node-{}".format)
    # Ahead, so that no call of a test is the first one in a minute, which is noted.
    heard_at = factory.LazyFunction(lambda: timezone.now() + dt.timedelta(hours=12))


class ServerFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Server

    name = factory.Sequence("server-{}".format)
    node = factory.SubFactory(NodeFactory)


class BackupFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Backup

    name = factory.Sequence("backup-{}".format)
    server = factory.SubFactory(ServerFactory)
