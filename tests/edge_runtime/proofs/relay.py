"""The network between a gateway and its centre, as a process of bytes: it can be cut, and it counts."""

import select
import socket
import threading

from tests.edge_runtime.broker import free_port


class Relay:
    """Passes connections to `port` (of the broker) on from one of its own, while it is `up`.

    `sent` counts the bytes towards the broker, `received` those from it: all that TCP carries, without its own headers.
    """

    def __init__(self, port):
        self.url = f"mqtt://127.0.0.1:{free_port()}"
        self.sent = self.received = 0
        self._own, self._broker = int(self.url.rpartition(":")[2]), port
        self._over, self._thread = threading.Event(), None

    def up(self):
        listener = socket.create_server(("127.0.0.1", self._own))
        self._over.clear()
        self._thread = threading.Thread(target=self._run, args=(listener,), daemon=True)
        self._thread.start()
        return self

    def cut(self):
        """Nothing passes any more, and nothing listens."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cut()

    def _run(self, listener):
        others = {}  # each socket's other end
        inward = set()
        with listener:
            while not self._over.is_set():
                for ready in select.select([listener, *others], [], [], 0.05)[0]:
                    if ready is listener:
                        client, server = listener.accept()[0], socket.create_connection(("127.0.0.1", self._broker))
                        others |= {client: server, server: client}
                        inward.add(server)
                    elif ready in others:
                        self._pass_on(ready, others, inward)
            for each in others:
                each.close()

    def _pass_on(self, ready, others, inward):
        try:
            data = ready.recv(1 << 18)
            others[ready].sendall(data)
        except OSError:
            data = b""
        if ready in inward:
            self.received += len(data)
        else:
            self.sent += len(data)
        if not data:
            for end in (ready, others[ready]):
                end.close()
                del others[end]
                inward.discard(end)
