"""What a daemon calls at its start, for projects without an endpoint of their own for it.

Include it under ``api/remote/``, beside ``backups_remote.urls``. A project that answers
``servers/reset`` itself calls ``lifecycle.node_restarted`` instead.
"""

from backups_remote.urls import remote_route
from backups_remote.views import RestartView

app_name = "backups_remote_daemon"

urlpatterns = [remote_route("servers/reset", RestartView, "reset")]
