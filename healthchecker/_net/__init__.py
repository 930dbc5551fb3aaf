"""Bytes to and from a peer, inside a deadline: names, connections, TLS. Knows no protocol above."""
