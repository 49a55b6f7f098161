// Package peer is replication between nodes over the node API.
//
// [Remote] is the other side of a job, as replication.Side on a connection. [Guard] is what this node does when it is the other side: it implements
// server.PeerCalls on the datasets of this machine, and lets a caller do what one of its own jobs has it do, for the datasets of that job. The protos say
// what goes over; fault.go carries classes of errors and conflicts across.
//
// Both sides are taken for what they may be: what comes from the other one is checked before it is used, whoever it is. Names of datasets lie below the
// roots of this node's own document; how streams are made and what a replica has to be is taken from that, and not from the request.
package peer
