"""gRPC health checking (grpc.health.v1): `Check`, `List` and `Watch`."""
