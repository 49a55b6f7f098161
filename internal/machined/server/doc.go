// Package server is the node API: gRPC over TLS 1.3 with client certificates,
// on port 50000 of TCP and of vsock, and metrics over HTTP/1.1 on the same port.
//
// # Trust
//
// The TLS handshake asks for a client certificate and proves that the peer
// holds its key, but takes any certificate, or none: a refused handshake would
// show as an opaque TLS alert. Who may call what is decided for each call, in
// interceptors through which every method goes before its handler: the
// certificate is verified against the authority and the clock of that moment,
// its organisations are taken as roles, and the method's entry in the table of
// authz.go is looked up. A method without an entry is refused, and a test
// walks the registered methods. So each kind of wrong certificate gets its own
// gRPC status, an expired certificate does not outlive itself on a long-lived
// connection, and a peer that is not verified reaches no handler.
//
// # Maintenance
//
// A node without a valid configuration has no authority to verify clients by.
// Whom it answers then is in its Identity: nobody, as long as it is not known
// whether it has a configuration or an owner; its owner, whose key must have
// signed the client's certificate (owner.go); or, where it has no owner, anybody.
// What each may call is in the table. Package maintenance decides which it is,
// and says why it is safe. Identity is asked for with each handshake and each
// call, so that a configuration ends maintenance mode without a new listener.
//
// When that, or another configuration, changes the authority of clients, calls
// under way are ended, and connections made before are closed a second later: a
// stream would outlive the certificate that it was let in by. Until then nothing
// more is done on them, so that no caller loses the answer to what was.
//
// # Peers
//
// Nodes call each other for replication, with the certificates of their own APIs. Such a method has an entry that says so; who calls it is verified by
// the authority that a job of the configuration has for that node, which is trusted for nothing else, and has to have the name that the job has for it
// (peergate.go). Their connections have larger windows (peerserver.go). Which datasets it may ask for is decided behind PeerCalls, by the same job.
//
// # Audit
//
// Every call is an entry of a hash-chained log (package audit), the refused
// ones too, and so are connections that come to no TLS session. What acts on
// the node, and every stream, is in the log before it is done. Of callers that
// are not verified only so many are written out in a time; the rest is counted,
// so that nobody can push other entries out of a log whose size is bounded. Nor
// can replication: of what a node asks for with each step, one call an hour is an
// entry, with all that fail or are refused, and the rest is counted (repeats.go).
//
// # Limits
//
// limits.go says what clients can make the node do and hold. Connections are
// counted in connections.go, calls in arrival.go, which sees them before gRPC
// has read the request.
//
// # Metrics
//
// A client that offers HTTP/1.1 in the handshake, as Prometheus and curl do and
// gRPC does not, is handed to http.go and finds GET /metrics there, which is
// judged by the same table. A scrape that is let in is in the audit log once an
// hour for each client: it comes every few seconds, reads only what the log's
// other entries do not tell, and would push those out of it.
//
// # Watches
//
// A Watch sends what the Get or List of the same name sends, and again when it
// differs. The node is looked at only while somebody watches.
//
// # Contract
//
// contract.go holds what the server needs of the node, as interfaces it
// consumes; status.go maps their error classes to gRPC codes.
package server
