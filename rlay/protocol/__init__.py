"""The protocol: bytes in, bytes out, no input or output, no clock."""
