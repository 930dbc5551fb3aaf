"""Network I/O under a deadline: name resolution, connections, TLS. Independent of protocols."""
