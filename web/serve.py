"""A web app at an address of this machine, until it is stopped."""

import socket
from typing import Any

from recipes.schema import UserError


def door(host: str, port: int, advice: str) -> socket.socket:
    """The socket that browsers connect to; port 0 is any free one. Raises UserError, with advice, when taken."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise UserError(f"{host}:{port}: {error.strerror or error}; {advice}") from None


def address(listening: socket.socket) -> str:
    """What to open in a browser."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def serve(app: Any, listening: socket.socket) -> None:
    """Answer until Ctrl-C. Of uvicorn's two parsers h11 is the one that bounds headers."""
    import uvicorn

    # Between two recordings a phone may idle.
    config = uvicorn.Config(app, http="h11", timeout_keep_alive=75, log_level="warning", server_header=False)
    uvicorn.Server(config).run(sockets=[listening])
