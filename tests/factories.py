"""Rows for tests."""

import factory

from backups_remote.models import Backup, Node, Server


class NodeFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Node

    name = factory.Sequence("node-{}".format)


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
