"""A stand-in for a node's daemon, for tests and for trying out a panel. It needs PyJWT.

It is a real HTTP server with real directories: it archives a server's files, asks the panel for
URLs, uploads, reports, and unpacks what it is told to restore. ::

    with StandInDaemon(directory) as daemon:
        node = Node.objects.create(name="fra-1", url=daemon.url)
        daemon.connect("http://127.0.0.1:8000", node.token_id, node.token)
        files = daemon.add_server(server.uuid)
        (files / "server.properties").write_text("level-name=world")
        backup = lifecycle.back_up(server)
        daemon.wait()

``MAKES`` has the daemons that it can be, ``Fault`` what can go wrong.
"""

from backups_remote.testing.daemon.calls import Call
from backups_remote.testing.daemon.faults import Fault
from backups_remote.testing.daemon.makes import MAKES, Make
from backups_remote.testing.daemon.stand_in import StandInDaemon

__all__ = ["MAKES", "Call", "Fault", "Make", "StandInDaemon"]
