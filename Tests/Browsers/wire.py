"""The commands of WebDriver over two transports: HTTP for chromedriver and WebKitWebDriver, Marionette for Firefox.

Debian has no geckodriver. Firefox itself takes the same commands by Marionette: a length, a colon and JSON.
https://www.w3.org/TR/webdriver2/, https://firefox-source-docs.mozilla.org/testing/marionette/Protocol.html
"""
import http.client
import json
import socket

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"

# The command of Marionette for each command of HTTP.
MARIONETTE = {
    ("POST", "url"): "Navigate", ("GET", "url"): "GetCurrentURL", ("GET", "title"): "GetTitle",
    ("POST", "refresh"): "Refresh", ("POST", "back"): "Back", ("POST", "forward"): "Forward",
    ("POST", "execute/sync"): "ExecuteScript", ("POST", "execute/async"): "ExecuteAsyncScript",
    ("POST", "actions"): "PerformActions", ("DELETE", "actions"): "ReleaseActions",
    ("POST", "window/new"): "NewWindow", ("POST", "window"): "SwitchToWindow", ("GET", "window"): "GetWindowHandle",
    ("GET", "window/handles"): "GetWindowHandles", ("DELETE", "window"): "CloseWindow",
    ("POST", "window/rect"): "SetWindowRect", ("GET", "screenshot"): "TakeScreenshot",
    ("POST", "alert/accept"): "AcceptAlert", ("POST", "alert/dismiss"): "DismissAlert", ("GET", "alert/text"): "GetAlertText",
    ("POST", "timeouts"): "SetTimeouts", ("DELETE", "cookie"): "DeleteAllCookies",
    ("POST", "element/click"): "ElementClick", ("POST", "element/value"): "ElementSendKeys",
    ("POST", "element/clear"): "ElementClear",
}


class WireError(Exception):
    """What a browser answers to a command that it cannot carry out."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


class HTTPWire:
    """One session with a driver that listens on a port."""

    def __init__(self, port, capabilities):
        self.port = port
        answer = self.request("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self.session, self.capabilities = answer["sessionId"], answer["capabilities"]

    def request(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=90)
        data = None if method != "POST" else json.dumps(body or {})
        connection.request(method, path, body=data, headers={"Content-Type": "application/json"})
        value = json.loads(connection.getresponse().read())["value"]
        connection.close()
        if isinstance(value, dict) and "error" in value:
            raise WireError(value["error"], value["message"])
        return value

    def command(self, method, name, body=None, element=None):
        """Carries out a command. Those of an element have `element/` before their name."""
        if element:
            name = name.replace("element/", f"element/{element}/")
        return self.request(method, f"/session/{self.session}/{name}", body)

    def vendor(self, name, body):
        """A command that only this driver knows."""
        return self.command("POST", name, body)

    def quit(self):
        self.request("DELETE", f"/session/{self.session}")


class MarionetteWire:
    """One session with Firefox."""

    def __init__(self, port, capabilities):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=180)
        self.buffer, self.number = b"", 0
        self.receive()  # Firefox introduces itself.
        self.capabilities = self.send("WebDriver:NewSession", capabilities)["capabilities"]

    def receive(self):
        while b":" not in self.buffer:
            self.buffer += self.piece()
        length, _, self.buffer = self.buffer.partition(b":")
        while len(self.buffer) < int(length):
            self.buffer += self.piece()
        data, self.buffer = self.buffer[:int(length)], self.buffer[int(length):]
        return json.loads(data)

    def piece(self):
        if not (piece := self.socket.recv(1 << 20)):
            raise WireError("lost", "Firefox has ended the connection")
        return piece

    def send(self, name, body=None):
        self.number += 1
        data = json.dumps([0, self.number, name, body or {}]).encode()
        self.socket.sendall(b"%d:%s" % (len(data), data))
        while (answer := self.receive())[1] != self.number:
            pass
        if answer[2]:
            raise WireError(answer[2]["error"], answer[2]["message"])
        return answer[3]

    def command(self, method, name, body=None, element=None):
        body = dict(body or {})
        if element:
            body["id"] = element
        answer = self.send("WebDriver:" + MARIONETTE[method, name], body)
        # A few answers are the value itself.
        return answer["value"] if isinstance(answer, dict) and set(answer) == {"value"} else answer

    def in_chrome(self, script, arguments=()):
        """Runs a script with the rights of the browser itself."""
        self.send("Marionette:SetContext", {"value": "chrome"})
        try:
            return self.send("WebDriver:ExecuteScript", {"script": script, "args": list(arguments)})["value"]
        finally:
            self.send("Marionette:SetContext", {"value": "content"})

    def quit(self):
        self.send("Marionette:Quit", {"flags": ["eForceQuit"]})
        self.socket.close()
