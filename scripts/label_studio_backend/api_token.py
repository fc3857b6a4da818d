"""Authorize requests to Label Studio by either of its kinds of tokens."""

import base64
import json
import time
from threading import Lock
from typing import Any

import requests

from scripts.label_studio_backend.errors import TaskError

#: Seconds before its end at which an access token is replaced.
_EARLY_S = 30


class ApiToken:
    """A legacy token, sent as it is, or a personal access token, for which Label Studio hands out access tokens of minutes.

    https://labelstud.io/guide/access_tokens
    """

    def __init__(self, label_studio_url: str, token: str) -> None:
        self._refresh_url = f"{label_studio_url.rstrip('/')}/api/token/refresh/"
        self._token = token
        self._is_personal = _claims(token).get("token_type") == "refresh"
        self._access = ""
        self._lock = Lock()

    def authorization(self, session: requests.Session, timeout_s: float) -> str:
        """Return the value of the header `Authorization`.

        Raises:
            TaskError: Label Studio does not take the token.
        """
        if not self._is_personal:
            return f"{'Bearer' if _claims(self._token) else 'Token'} {self._token}"
        with self._lock:
            if _claims(self._access).get("exp", 0) < time.time() + _EARLY_S:
                self._access = self._refresh(session, timeout_s)
            return f"Bearer {self._access}"

    def _refresh(self, session: requests.Session, timeout_s: float) -> str:
        try:
            response = session.post(self._refresh_url, json={"refresh": self._token}, timeout=timeout_s, allow_redirects=False)
            return str(response.json()["access"])
        except (requests.RequestException, ValueError, LookupError, TypeError) as error:
            raise TaskError(
                f"{self._refresh_url}: Label Studio does not take the personal access token in LABEL_STUDIO_API_KEY"
            ) from error


def _claims(token: str) -> dict[str, Any]:
    """Return what a JSON Web Token says of itself; nothing for other text. Its signature is Label Studio's to check."""
    try:
        _, payload, _ = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}
