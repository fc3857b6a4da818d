"""Authorize requests to Label Studio with either of its two kinds of tokens."""

import base64
import json
import time
from threading import Lock
from typing import Any

import requests

from scripts.label_studio_backend.errors import TaskError

#: Seconds before an access token expires at which it is replaced.
_RENEWAL_MARGIN_S = 30


class ApiToken:
    """A legacy token, sent unchanged, or a personal access token, exchanged for short-lived access tokens.

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
            TaskError: Label Studio does not accept the token.
        """
        if not self._is_personal:
            return f"{'Bearer' if _claims(self._token) else 'Token'} {self._token}"
        with self._lock:
            if _claims(self._access).get("exp", 0) < time.time() + _RENEWAL_MARGIN_S:
                self._access = self._refresh(session, timeout_s)
            return f"Bearer {self._access}"

    def _refresh(self, session: requests.Session, timeout_s: float) -> str:
        try:
            response = session.post(self._refresh_url, json={"refresh": self._token}, timeout=timeout_s, allow_redirects=False)
            return str(response.json()["access"])
        except (requests.RequestException, ValueError, LookupError, TypeError) as error:
            raise TaskError(
                f"{self._refresh_url}: Label Studio does not accept the personal access token in LABEL_STUDIO_API_KEY"
            ) from error


def _claims(token: str) -> dict[str, Any]:
    """Return the claims of a JSON Web Token, or nothing for other text. Label Studio verifies the signature."""
    try:
        _, payload, _ = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}
