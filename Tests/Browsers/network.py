"""A network between two programs that a journey can cut, block or freeze."""
import os
import socket
import threading
import time


class Network:
    """Carries connections from a port of its own to a TCP port (a number) or a Unix socket (a path).

    `pace` limits each direction of a connection to so many bytes a second. `host` is the address of the port.
    """

    def __init__(self, target, host="127.0.0.1"):
        self.target = target
        self.flows, self.refuses, self.open = threading.Event(), False, []
        self.flows.set()
        self.carried, self.pace = 0, None
        self.listener = socket.create_server((host, 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                inner, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.connect, args=(inner,), daemon=True).start()

    def connect(self, inner):
        # A frozen network takes the connection, and carries nothing.
        self.open.append(inner)
        self.flows.wait()
        try:
            if self.refuses:
                raise ConnectionRefusedError
            if isinstance(self.target, int):
                outer = socket.create_connection(("127.0.0.1", self.target))
            else:
                outer = socket.socket(socket.AF_UNIX)
                outer.connect(self.target)
        except OSError:
            self.open.remove(inner)
            inner.close()
            return
        self.open.append(outer)
        threading.Thread(target=self.pump, args=(inner, outer), daemon=True).start()
        self.pump(outer, inner)
        for end in (inner, outer):
            if end in self.open:
                self.open.remove(end)

    def pump(self, source, target):
        try:
            while piece := source.recv(65536):
                self.flows.wait()
                self.carried += len(piece)
                if self.pace:
                    time.sleep(len(piece) / self.pace)
                target.sendall(piece)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def freeze(self):
        """From now on every byte is swallowed, but all connections stay open."""
        self.flows.clear()

    def thaw(self):
        self.flows.set()

    def lose(self):
        """Cuts all connections, and refuses new ones."""
        self.refuses = True
        self.cut()

    def restore(self):
        self.refuses = False
        self.flows.set()

    def cut(self):
        for end in list(self.open):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()
        self.flows.set()
        self.cut()


def database_socket(folder):
    """The Unix socket of the PostgreSQL that `therapybridge dev` has started."""
    run = os.path.join(folder, "postgres", "run")
    (name,) = [name for name in os.listdir(run) if name.startswith(".s.PGSQL.") and not name.endswith(".lock")]
    return os.path.join(run, name)
