"""The servers that tests check against, by purpose.

a server that hangs, or whose connections the test takes by hand   peers.SilentPeer
one that is slow, drips, floods, resets, lies, breaks off          peers.Peer with a behaviour
one of any URL scheme with a good reply, silent, or down           scripted.scripted_server
addresses that ignore connection attempts                        peers.silent_addresses
a port without a listener                                          peers.refusing_port
a port that a server may take, and keep while it is down            daemons.free_port
an HTTP service, one with scripted responses                       http.http_service, http.scripted
a gRPC service, frames of HTTP/2 made by hand                      grpc
a name server with any responses                              dns.DnsServer
something between a client and its server                          proxy.Proxy
a context and certificates for TLS                                 tls.server_context
accountservice, as a process                                       accountservice.running_service
real databases, as processes                                       postgres, mariadb, redis
a real broker                                                      rabbitmq
other real servers that need a command line and a few files        daemons.running_daemon
a file system that hangs                                           hanging.hanging_file_system

All of them take a free port, return it, and leave no thread, process or file after their block.
"""
