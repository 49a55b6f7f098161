package server

import (
	"net"
	"time"

	"google.golang.org/grpc"
)

// Rules are the methods of the authorisation table.
func Rules() map[string][]ClientRole {
	all := map[string][]ClientRole{}
	for method, r := range rules() {
		all[method] = r.roles
	}
	return all
}

// ForPeers says which methods are for nodes that a job names.
func ForPeers() map[string]bool {
	all := map[string]bool{}
	for method, r := range rules() {
		all[method] = r.peer
	}
	return all
}

// Who may call a method in maintenance mode.
const (
	ForNobody = forNobody
	ForOwner  = forOwner
	ForAnyone = forAnyone
)

// InMaintenance says who may call each method in maintenance mode.
func InMaintenance() map[string]access {
	all := map[string]access{}
	for method, r := range rules() {
		all[method] = r.maintenance
	}
	return all
}

// ServiceInfo is what the gRPC server has registered.
func (s *Server) ServiceInfo() map[string]grpc.ServiceInfo { return s.grpc.GetServiceInfo() }

// ToStatus is toStatus.
var ToStatus = toStatus

// Size is how many connections are open, and how many of them verified.
func (s *Server) Size() (open, verified int) { return s.table.size() }

// NewConn is a connection in a table of its own.
func NewConn(raw net.Conn, l Limits) net.Conn { return newConnections(l.withDefaults()).add(raw) }

// AddressOf is addressOf.
var AddressOf = addressOf

// Allowed is how many of n calls of each holder pass at one moment.
func Allowed(perSecond, burst, n int, now time.Time, holders ...string) []int {
	r := newRates(perSecond, burst)
	out := make([]int, len(holders))
	for i, holder := range holders {
		for range n {
			if r.allow(holder, now) {
				out[i]++
			}
		}
	}
	return out
}

// AddressesOf is addressesOf.
var AddressesOf = addressesOf
