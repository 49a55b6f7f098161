package network

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/service"
)

// Verb is the kind of an operation.
type Verb string

// The operations of the domain.
const (
	SetHostname       Verb = "set host name"
	SetUp             Verb = "set up"
	StartDHCP         Verb = "start DHCP on"
	StopDHCP          Verb = "stop DHCP on"
	AddAddress        Verb = "add address to"
	DeleteAddress     Verb = "delete address from"
	AddGateway        Verb = "add default route on"
	DeleteGateway     Verb = "delete default route on"
	SetNameservers    Verb = "set name servers"
	AddUnreachable    Verb = "make unreachable"
	DeleteUnreachable Verb = "no longer make unreachable"
	SetServices       Verb = "set services"
	AttachServices    Verb = "attach services"
)

// Op is one operation. Which of the fields beside Verb are set depends on it.
type Op struct {
	Verb        Verb
	Link        string
	Hostname    string
	Address     netip.Prefix
	Gateway     netip.Addr
	Nameservers []netip.Addr
	// Services is what to set, and Changed the service addresses whose backends change by it.
	Services *service.Table
	Changed  []service.Address
}

// maxNamed is how many changed addresses an operation names.
const maxNamed = 4

// String prints the operation for logs and tests.
func (o Op) String() string {
	parts := []string{string(o.Verb)}
	if o.Link != "" {
		parts = append(parts, o.Link)
	}
	if o.Hostname != "" {
		parts = append(parts, o.Hostname)
	}
	if o.Address.IsValid() {
		parts = append(parts, o.Address.String())
	}
	if o.Gateway.IsValid() {
		parts = append(parts, "via "+o.Gateway.String())
	}
	if o.Verb == SetNameservers {
		parts = append(parts, fmt.Sprint(o.Nameservers))
	}
	if o.Verb == SetServices {
		parts = append(parts, o.changes())
	}
	return strings.Join(parts, " ")
}

func (o Op) changes() string {
	var names []string
	for _, at := range o.Changed[:min(maxNamed, len(o.Changed))] {
		backends, ok := o.Services.Backends(at)
		if !ok {
			names = append(names, at.String()+" gone")
			continue
		}
		names = append(names, fmt.Sprintf("%s has %d", at, len(backends)))
	}
	if more := len(o.Changed) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return "[" + strings.Join(names, ", ") + "]"
}

// Diff returns the operations from obs to spec. A link that is not there yet yields none: its appearance wakes the loop.
func (r *Reconciler) Diff(spec Spec, obs Observed) []Op {
	var ops []Op
	if spec.Hostname != "" && spec.Hostname != obs.Hostname {
		ops = append(ops, Op{Verb: SetHostname, Hostname: spec.Hostname})
	}
	wanted := map[string]bool{}
	for _, link := range spec.Links {
		state, ok := find(link.Name, obs.Links)
		if !ok {
			continue
		}
		if link.DHCP {
			wanted[state.Name] = true
		}
		ops = append(ops, linkOps(link, state, obs.Clients)...)
	}
	for _, name := range slices.Sorted(maps.Keys(obs.Clients)) {
		if !wanted[name] {
			ops = append(ops, Op{Verb: StopDHCP, Link: name})
		}
	}
	if servers := nameservers(spec, obs); !obs.Resolver || !slices.Equal(servers, obs.Nameservers) {
		ops = append(ops, Op{Verb: SetNameservers, Nameservers: servers})
	}
	for _, p := range spec.Unreachable {
		if !slices.Contains(obs.Unreachable, p.Masked()) {
			ops = append(ops, Op{Verb: AddUnreachable, Address: p.Masked()})
		}
	}
	for _, p := range obs.Unreachable {
		if !slices.ContainsFunc(spec.Unreachable, func(wanted netip.Prefix) bool { return wanted.Masked() == p }) {
			ops = append(ops, Op{Verb: DeleteUnreachable, Address: p})
		}
	}
	return append(ops, serviceOps(spec, obs.Services)...)
}

// serviceOps fills the table before it is put in force, so that a service which is not in it yet is not taken for none.
func serviceOps(spec Spec, state ServicesState) []Op {
	if spec.Services == nil {
		return nil
	}
	var ops []Op
	if !spec.Services.Equal(state.Table) || state.Damaged > 0 {
		ops = append(ops, Op{Verb: SetServices, Services: spec.Services, Changed: spec.Services.Changes(state.Table)})
	}
	if !state.Attached {
		ops = append(ops, Op{Verb: AttachServices})
	}
	return ops
}

// linkOps puts the new address before the removal of an old one, and addresses before the routes that need them.
func linkOps(link Link, state LinkState, clients map[string]*Lease) []Op {
	var ops []Op
	if !state.Up {
		ops = append(ops, Op{Verb: SetUp, Link: state.Name})
	}
	lease, running := clients[state.Name]
	if link.DHCP && !running {
		ops = append(ops, Op{Verb: StartDHCP, Link: state.Name})
	}
	addresses, gateways := wants(link, lease)
	for _, a := range addresses {
		if !slices.Contains(state.Addresses, a) {
			ops = append(ops, Op{Verb: AddAddress, Link: state.Name, Address: a})
		}
	}
	if link.DHCP && lease == nil {
		// A restarted agent finds the address of an earlier lease. It stays until the new client knows better, and so do connections.
		return ops
	}
	for _, g := range state.Gateways {
		if !slices.Contains(gateways, g) {
			ops = append(ops, Op{Verb: DeleteGateway, Link: state.Name, Gateway: g})
		}
	}
	for _, a := range state.Addresses {
		if a.Addr().Is4() && !slices.Contains(addresses, a) {
			ops = append(ops, Op{Verb: DeleteAddress, Link: state.Name, Address: a})
		}
	}
	for _, g := range gateways {
		if !slices.Contains(state.Gateways, g) {
			ops = append(ops, Op{Verb: AddGateway, Link: state.Name, Gateway: g})
		}
	}
	return ops
}

// wants returns the addresses and next hops of a link, with those of its lease if it has one. A static gateway beats the lease's.
func wants(link Link, lease *Lease) (addresses []netip.Prefix, gateways []netip.Addr) {
	addresses = slices.Clone(link.Addresses)
	if link.Gateway.IsValid() {
		gateways = append(gateways, link.Gateway)
	}
	if link.DHCP && lease != nil {
		if !slices.Contains(addresses, lease.Address) {
			addresses = append(addresses, lease.Address)
		}
		if lease.Gateway.IsValid() && len(gateways) == 0 {
			gateways = append(gateways, lease.Gateway)
		}
	}
	return addresses, gateways
}

// nameservers returns the configured servers, or else those of the leases in the order of the links.
func nameservers(spec Spec, obs Observed) []netip.Addr {
	if len(spec.Nameservers) > 0 {
		return spec.Nameservers
	}
	var servers []netip.Addr
	for _, link := range spec.Links {
		state, ok := find(link.Name, obs.Links)
		if !ok || !link.DHCP || obs.Clients[state.Name] == nil {
			continue
		}
		for _, s := range obs.Clients[state.Name].Nameservers {
			if !slices.Contains(servers, s) {
				servers = append(servers, s)
			}
		}
	}
	return servers
}
