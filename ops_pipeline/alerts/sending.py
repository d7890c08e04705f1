"""Sending messages and heartbeats.

Belongs here: apprise and one HTTP request. Does not belong here: what is said (`messages`). Addresses hold tokens: none of them, and
nothing that a library says of them, gets into a log or an error.
"""

from __future__ import annotations

import http.client
import logging
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from ops_pipeline.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import SecretStr

    from ops_pipeline.alerts.messages import Message

_SECONDS = 10.0
_TRIES = 2


class AlertError(UserError):
    """A message could not be sent."""


def send(addresses: SecretStr, message: Message) -> None:
    """Sends a message to every address of the setting.

    Raises:
        AlertError: when an address is none that apprise knows, or one did not take the message.
    """
    import apprise

    # It writes addresses into its log.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    box = apprise.Apprise()
    for number, address in enumerate(addresses.get_secret_value().split(), start=1):
        if not box.add(address):
            raise AlertError(
                f"address {number} of OPS_PIPELINE_ALERT_URLS is none that apprise knows; its documentation lists them, such as"
                " mailto://, slack:// and json://."
            )
    if not box.notify(title=message.title, body=message.body):
        raise AlertError(f"the message {message.title!r} could not be sent to every address of OPS_PIPELINE_ALERT_URLS.")


def beat(address: SecretStr | None, *, well: bool, notify: Callable[[str], None]) -> None:
    """Tells the watchdog that a scheduled run ended: the address itself where all is well, the address with `/fail` where not.

    Without an address nothing is sent. A heartbeat that cannot be sent fails nothing: `notify` gets a sentence without the address.
    """
    if address is None:
        return
    url = address.get_secret_value().rstrip("/") + ("" if well else "/fail")
    for attempt in range(1, _TRIES + 1):
        try:
            request = urllib.request.Request(url, method="POST", data=b"")  # noqa: S310 - the setting takes http and https only
            with urllib.request.urlopen(request, timeout=_SECONDS):  # noqa: S310
                return
        except urllib.error.HTTPError as e:
            reason = f"status {e.code}"
        except (OSError, ValueError, http.client.HTTPException) as e:
            reason = type(getattr(e, "reason", e)).__name__  # the text may hold the address
        if attempt == _TRIES:
            notify(f"the heartbeat could not be sent to OPS_PIPELINE_HEARTBEAT_URL ({reason})")
