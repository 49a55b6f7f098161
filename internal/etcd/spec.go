package etcd

import (
	"net/netip"

	"github.com/cyvive/cyvive/internal/pki"
)

// Spec is the member as it should be.
type Spec struct {
	// Name is the member's name: the node's host name.
	Name string
	// Address is the node's address, on which peers reach this member.
	Address netip.Addr
	// CA signs the certificates of servers, peers and clients of this etcd.
	CA *pki.Authority
}

// ClientURL is where the member serves clients on this node.
const ClientURL = "https://127.0.0.1:2379"
