"""What a client is told when there is no answer, in the shape of OpenAI's errors."""

from __future__ import annotations

import json
from typing import Any

GONE = 499  # the client went away


class Problem(Exception):
    """An answer that is none: its status, a line for people and a code for programs."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        *,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.param, self.retry_after = param, retry_after

    @property
    def kind(self) -> str:
        """The `type` that clients of OpenAI know."""
        known = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        ours = "api_error" if self.status >= 500 else "invalid_request_error"
        return known.get(self.status, ours)

    def told(self) -> dict[str, Any]:
        """The body, as values."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param,
                          "code": self.code}}  # fmt: skip

    def body(self) -> bytes:
        """The body."""
        return json.dumps(self.told()).encode()

    def event(self) -> bytes:
        """The same inside a stream, after which nothing comes: no `[DONE]`, for it is not done."""
        return b"data: " + self.body() + b"\n\n"


def bad(message: str, param: str | None = None, status: int = 400) -> Problem:
    """What is wrong with a request."""
    return Problem(status, message, "invalid_request", param=param)
