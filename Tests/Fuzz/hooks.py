"""What schemathesis has to know about the media types of the API."""
import schemathesis

# The body of an upload by tus: bytes of any kind.
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
