"""TLS handshakes in memory."""

import ssl


def shake_hands(
    server: ssl.SSLContext, client: ssl.SSLContext, host: str = "localhost"
) -> tuple[ssl.SSLError | None, ssl.SSLError | None, ssl.SSLObject]:
    """Do a handshake in memory; return what each side raised, and the client's end."""
    wires = [ssl.MemoryBIO() for _ in range(2)]
    ends = [
        server.wrap_bio(wires[0], wires[1], server_side=True),
        client.wrap_bio(wires[1], wires[0], server_hostname=host),
    ]
    errors: list[ssl.SSLError | None] = [None, None]
    done = [False, False]
    for _ in range(10):
        for number in (1, 0):
            if done[number] or errors[number]:
                continue
            try:
                ends[number].do_handshake()
                done[number] = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                errors[number] = error
    if done[1]:  # under TLS 1.3 the client is done before the server has judged it
        try:
            ends[1].read(1)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            errors[1] = error
    return errors[0], errors[1], ends[1]
