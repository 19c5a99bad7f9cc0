"""A request that is not served, with the reason in the shape that OpenAI's clients read."""

from starlette.responses import JSONResponse


class Refused(Exception):
    """Why a request is not served. `code`: one of a fixed few, for programs and metrics."""

    def __init__(
        self, status: int, code: str, message: str, param: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param
        self.retry_after_s = retry_after_s

    def response(self) -> JSONResponse:
        """As an answer."""
        kind = "invalid_request_error" if self.status < 500 and self.status != 429 else "server_error"
        told = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        again = {"retry-after": str(self.retry_after_s)} if self.retry_after_s is not None else {}
        return JSONResponse({"error": told}, self.status, headers=again)
