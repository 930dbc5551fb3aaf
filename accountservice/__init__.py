"""A sample service that reports the state of its database over HTTP and gRPC."""
