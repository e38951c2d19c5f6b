"""What a client is told instead of an answer, in the shape that OpenAI's clients read: by the model
server and by the gateway before it."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import JSONResponse

GONE = 499  # the client went away


class Refused(Exception):
    """A request that gets no answer: HTTP status, a line for people, OpenAI's code for programs,
    and the field that is wrong."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param, self.retry_after = status, code, param, retry_after

    @property
    def headers(self) -> dict[str, str]:
        """When to ask again; and no further use of a connection whose body nobody read on."""
        told = {"retry-after": str(self.retry_after)} if self.retry_after is not None else {}
        return {**told, "connection": "close"} if self.status in (408, 413) else told

    def told(self) -> dict[str, Any]:
        """`{"error": …}` as values."""
        kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        told = {"message": str(self), "type": kinds.get(self.status, kind)}
        return {"error": {**told, "param": self.param, "code": self.code}}

    def body(self) -> bytes:
        """The same as it is sent."""
        return json.dumps(self.told()).encode()

    def event(self) -> bytes:
        """The same inside a stream, after which nothing comes: no `[DONE]`, for it is not done."""
        return b"data: " + self.body() + b"\n\n"

    def response(self) -> JSONResponse:
        """The whole response."""
        return JSONResponse(self.told(), self.status, self.headers)


def bad(message: str, param: str | None = None, status: int = 400) -> Refused:
    """What is wrong with a request."""
    return Refused(status, message, "invalid_request", param)
