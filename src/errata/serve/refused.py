"""What a client is told instead of an answer, in the shape that OpenAI's clients read."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse


class Refused(Exception):
    """A request that gets no answer: HTTP status, OpenAI's code, and the field that is wrong."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, code, param
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        if status in (408, 413):  # the rest of the body is on its way, and nobody reads it
            self.headers["Connection"] = "close"

    def body(self) -> dict[str, Any]:
        """`{"error": …}` as it is sent, also amid a stream."""
        kinds = {401: "authentication_error", 429: "rate_limit_error"}
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        told = {"message": str(self), "type": kinds.get(self.status, kind)}
        return {"error": {**told, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The whole response."""
        return JSONResponse(self.body(), self.status, self.headers)
