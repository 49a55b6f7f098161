// Package dhcp keeps DHCPv4 leases (RFC 2131) for the network domain: one goroutine for each link, from the first DISCOVER on through
// renewals, until it is stopped.
//
//	    ┌─────────── lease expired or refused ◀──────────┐
//	    ▼                                                │
//	selecting ──ACK──▶ bound ──T1──▶ renewing ──T2──▶ rebinding
//	 │   ▲               ▲  (unicast)  │  (broadcast)    │
//	 └───┘ no answer     └─────ACK─────┴─────────────────┘
//
// A lease that the domain refuses is let go of, and a minute later the client is selecting again.
//
// The package does not touch addresses or routes: it hands the lease to the domain, which sets what is in it, and wakes the domain's loop.
// A message is sent from a raw socket that is open only while an exchange is going on.
package dhcp
