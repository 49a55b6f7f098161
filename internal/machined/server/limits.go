package server

import "time"

// Limits bound what clients can make the node do and hold. A client is known by
// the common name of its certificate once that is verified, and by its address
// before; an IPv6 client's address is its /64. A limit of zero takes the value
// of [DefaultLimits].
type Limits struct {
	// Connections may be open at once, over all listeners.
	Connections int
	// ReservedConnections of them are kept for peers that are not verified yet,
	// so that clients which are cannot lock out others.
	ReservedConnections int
	// ConnectionsPerSubject and ConnectionsPerAddress may be open for one client
	// that is verified, and for one address whose clients are not. The oldest
	// makes way for a new one.
	ConnectionsPerSubject, ConnectionsPerAddress int
	// ConnectionsPerNode may be open for one node that a job names, whose windows are
	// larger, and RunningPerNode are its calls at once, of which each may run a program.
	ConnectionsPerNode, RunningPerNode int

	// CallsPerSecond is what a verified client may call, after a burst of
	// CallsBurst; UnverifiedPerSecond and UnverifiedBurst are for an address.
	CallsPerSecond, CallsBurst           int
	UnverifiedPerSecond, UnverifiedBurst int
	// RunningPerSubject and RunningPerAddress are calls at once.
	RunningPerSubject, RunningPerAddress int

	// HandshakeTimeout is for TLS and the preface of HTTP/2, RequestTimeout from
	// the head of a request to its end, WriteTimeout for one write to a
	// connection, StallTimeout for a client to take one message of a stream.
	HandshakeTimeout, RequestTimeout, WriteTimeout, StallTimeout time.Duration
	// PieceTimeout is for each further message of a client that sends a stream, from
	// when it is waited for. All of the stream has no limit of time; how large it may
	// be is for who reads it to say.
	PieceTimeout time.Duration
}

// DefaultLimits is what a node bears on two processors and with some 50 MiB for
// the API: an idle connection takes some 30 KiB, a running stream some 20.
func DefaultLimits() Limits {
	return Limits{
		Connections: 1024, ReservedConnections: 128, ConnectionsPerSubject: 640, ConnectionsPerAddress: 512, ConnectionsPerNode: 32, RunningPerNode: 128,
		CallsPerSecond: 2000, CallsBurst: 4000, UnverifiedPerSecond: 50, UnverifiedBurst: 200,
		RunningPerSubject: 1024, RunningPerAddress: 128,
		HandshakeTimeout: 10 * time.Second, RequestTimeout: 20 * time.Second, WriteTimeout: 20 * time.Second, StallTimeout: 5 * time.Minute,
		PieceTimeout: 20 * time.Second,
	}
}

// withDefaults fills in what is zero.
func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	for _, v := range []struct{ have, def *int }{
		{&l.Connections, &d.Connections}, {&l.ReservedConnections, &d.ReservedConnections},
		{&l.ConnectionsPerSubject, &d.ConnectionsPerSubject}, {&l.ConnectionsPerAddress, &d.ConnectionsPerAddress},
		{&l.CallsPerSecond, &d.CallsPerSecond}, {&l.CallsBurst, &d.CallsBurst},
		{&l.UnverifiedPerSecond, &d.UnverifiedPerSecond}, {&l.UnverifiedBurst, &d.UnverifiedBurst},
		{&l.RunningPerSubject, &d.RunningPerSubject}, {&l.RunningPerAddress, &d.RunningPerAddress},
		{&l.ConnectionsPerNode, &d.ConnectionsPerNode}, {&l.RunningPerNode, &d.RunningPerNode},
	} {
		if *v.have == 0 {
			*v.have = *v.def
		}
	}
	for _, v := range []struct{ have, def *time.Duration }{
		{&l.HandshakeTimeout, &d.HandshakeTimeout}, {&l.RequestTimeout, &d.RequestTimeout},
		{&l.WriteTimeout, &d.WriteTimeout}, {&l.StallTimeout, &d.StallTimeout}, {&l.PieceTimeout, &d.PieceTimeout},
	} {
		if *v.have == 0 {
			*v.have = *v.def
		}
	}
	return l
}
