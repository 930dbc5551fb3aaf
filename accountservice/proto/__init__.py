"""The gRPC contract; `scripts/generate-proto` makes everything else here from account.proto."""
