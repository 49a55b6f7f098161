package server

import "google.golang.org/grpc"

// Rules are the methods of the authorisation table.
func Rules() map[string][]ClientRole {
	all := map[string][]ClientRole{}
	for method, r := range rules() {
		all[method] = r.roles
	}
	return all
}

// InMaintenance are the methods that answer anyone in maintenance mode.
func InMaintenance() map[string]bool {
	all := map[string]bool{}
	for method, r := range rules() {
		if r.maintenance {
			all[method] = true
		}
	}
	return all
}

// ServiceInfo is what the gRPC server has registered.
func (s *Server) ServiceInfo() map[string]grpc.ServiceInfo { return s.grpc.GetServiceInfo() }

// ToStatus is toStatus.
var ToStatus = toStatus
