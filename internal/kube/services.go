package kube

import (
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/cyvive/cyvive/internal/service"
)

// key names an object of a namespace.
type key struct{ Namespace, Name string }

// clusterService is what a v1.Service says of its addresses within the cluster. Node ports, load balancers, external addresses and session
// affinity are not followed.
type clusterService struct {
	// IPs are empty for a headless service and for one that is only a name.
	IPs   []netip.Addr
	Ports []clusterPort
	// Local allows backends on the client's own node only (internalTrafficPolicy).
	Local bool
}

// clusterPort is one port of a service, by the name that its endpoints have too.
type clusterPort struct {
	Name     string
	Protocol service.Protocol
	Port     uint16
}

// endpointSlice is what a discovery.k8s.io/v1 EndpointSlice says.
type endpointSlice struct {
	// Service is the service's name, in the slice's namespace; empty if it is of none.
	Service   string
	IPv6      bool
	Ports     []clusterPort
	Endpoints []endpoint
}

type endpoint struct {
	IPs  []netip.Addr
	Node string
	// Ready takes new connections. Ending was asked to end, but still serves.
	Ready, Ending bool
}

// catalog is the services and slices of a cluster, by which of them the server named last.
type catalog struct {
	services map[key]clusterService
	slices   map[key]endpointSlice
}

// table returns where connections from a node go. Backends are those that are ready; if none is, those that are ending but still serve, since
// refusing would be worse (KEP-1669). A service without any, and every port that a service does not name, refuses.
func (c catalog) table(node string) *service.Table {
	entries := map[service.Address][]netip.AddrPort{}
	of := map[key][]endpointSlice{}
	for k, s := range c.slices {
		if s.Service != "" {
			of[key{k.Namespace, s.Service}] = append(of[key{k.Namespace, s.Service}], s)
		}
	}
	for k, s := range c.services {
		if s.Local {
			of[k] = onNode(of[k], node)
		}
		for _, ip := range s.IPs {
			entries[service.Rest(ip)] = nil
			for _, port := range s.Ports {
				at := service.Address{AddrPort: netip.AddrPortFrom(ip, port.Port), Protocol: port.Protocol}
				entries[at] = backends(of[k], port, ip.Is6())
			}
		}
	}
	return service.New(entries)
}

// onNode leaves the endpoints of one node.
func onNode(slices []endpointSlice, node string) []endpointSlice {
	var out []endpointSlice
	for _, s := range slices {
		var here []endpoint
		for _, e := range s.Endpoints {
			if e.Node == node {
				here = append(here, e)
			}
		}
		s.Endpoints = here
		out = append(out, s)
	}
	return out
}

func backends(slices []endpointSlice, port clusterPort, ipv6 bool) []netip.AddrPort {
	var ready, ending []netip.AddrPort
	for _, s := range slices {
		for _, p := range s.Ports {
			if s.IPv6 != ipv6 || p.Name != port.Name || p.Protocol != port.Protocol {
				continue
			}
			for _, e := range s.Endpoints {
				for _, ip := range e.IPs {
					switch to := netip.AddrPortFrom(ip, p.Port); {
					case e.Ready:
						ready = append(ready, to)
					case e.Ending:
						ending = append(ending, to)
					}
				}
			}
		}
	}
	if len(ready) > 0 {
		return ready
	}
	return ending
}

// protocolOf reads a protocol of the API; empty is TCP. What is not translated, such as SCTP, is not ok.
func protocolOf(text string) (p service.Protocol, ok bool) {
	switch text {
	case "", "TCP":
		return service.TCP, true
	case "UDP":
		return service.UDP, true
	}
	return 0, false
}

// parseService reads a v1.Service.
func parseService(data []byte) (key, clusterService, error) {
	var object struct {
		Metadata key
		Spec     struct {
			ClusterIP             string
			ClusterIPs            []string
			InternalTrafficPolicy string
			Ports                 []struct {
				Name, Protocol string
				Port           int
			}
		}
	}
	if err := json.Unmarshal(data, &object); err != nil {
		return key{}, clusterService{}, fmt.Errorf("read service: %w", err)
	}
	s := clusterService{Local: object.Spec.InternalTrafficPolicy == "Local"}
	texts := object.Spec.ClusterIPs
	if len(texts) == 0 {
		texts = []string{object.Spec.ClusterIP}
	}
	s.IPs = addresses(texts) // "None" and "" are no addresses
	for _, p := range object.Spec.Ports {
		if protocol, ok := protocolOf(p.Protocol); ok && isPort(p.Port) {
			s.Ports = append(s.Ports, clusterPort{p.Name, protocol, uint16(p.Port)})
		}
	}
	return object.Metadata, s, nil
}

// parseSlice reads a discovery.k8s.io/v1 EndpointSlice. A condition that is absent means ready and serving, and not terminating; a port
// without a number means every port, which no service asks for.
func parseSlice(data []byte) (key, endpointSlice, error) {
	var object struct {
		Metadata struct {
			key
			Labels map[string]string
		}
		AddressType string
		Ports       []struct {
			Name, Protocol string
			Port           int
		}
		Endpoints []struct {
			Addresses  []string
			NodeName   string
			Conditions struct{ Ready, Serving, Terminating *bool }
		}
	}
	if err := json.Unmarshal(data, &object); err != nil {
		return key{}, endpointSlice{}, fmt.Errorf("read endpoint slice: %w", err)
	}
	s := endpointSlice{Service: object.Metadata.Labels["kubernetes.io/service-name"], IPv6: object.AddressType == "IPv6"}
	for _, p := range object.Ports {
		if protocol, ok := protocolOf(p.Protocol); ok && isPort(p.Port) {
			s.Ports = append(s.Ports, clusterPort{p.Name, protocol, uint16(p.Port)})
		}
	}
	isTrue := func(condition *bool, absent bool) bool {
		if condition == nil {
			return absent
		}
		return *condition
	}
	for _, e := range object.Endpoints {
		c := e.Conditions
		ready := isTrue(c.Ready, true)
		out := endpoint{Node: e.NodeName, Ready: ready, Ending: isTrue(c.Serving, ready) && isTrue(c.Terminating, false)}
		for _, ip := range addresses(e.Addresses) {
			if ip.Is6() == s.IPv6 {
				out.IPs = append(out.IPs, ip)
			}
		}
		s.Endpoints = append(s.Endpoints, out)
	}
	return object.Metadata.key, s, nil
}

func isPort(n int) bool { return n > 0 && n <= 0xffff }

// addresses returns those of texts that are addresses which a connection can have.
func addresses(texts []string) []netip.Addr {
	var list []netip.Addr
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" && !a.Is4In6() {
			list = append(list, a)
		}
	}
	return list
}
