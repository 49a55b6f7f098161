package network

import (
	"fmt"
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
	SetDown           Verb = "set down"
	StartDHCP         Verb = "start DHCP on"
	StopDHCP          Verb = "stop DHCP on"
	RefuseLease       Verb = "refuse lease on"
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
	Gateway     NextHop
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
	if o.Gateway.Address.IsValid() {
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
	ops = append(ops, allLinksOps(spec, obs)...)
	servers, known := nameservers(spec, obs)
	if !obs.Resolver || known && !slices.Equal(servers, obs.Nameservers) {
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
	if spec.Keep {
		ops = additions(ops, obs)
	}
	return append(ops, serviceOps(spec, obs.Services)...)
}

// additions are those of operations that take nothing back: a default route only where there is none, and name servers where there are none.
func additions(ops []Op, obs Observed) []Op {
	routed := slices.ContainsFunc(obs.Links, func(l LinkState) bool { return len(l.Gateways) > 0 })
	return slices.DeleteFunc(ops, func(op Op) bool {
		switch op.Verb {
		case SetDown, DeleteAddress, DeleteGateway, DeleteUnreachable:
			return true
		case AddGateway:
			return routed
		case SetNameservers:
			return obs.Resolver && len(obs.Nameservers) > 0
		}
		return false
	})
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

// nameservers returns the configured servers, or else those of the leases in the order of the links. They are not known while there are none and a link
// waits for its lease: a restarted agent finds the servers of an earlier one, of which cluster DNS and the pods' resolv.conf are made. Nor are they while there
// are only some of those that it finds, and a link that has a carrier waits: the others are likely to be that link's.
func nameservers(spec Spec, obs Observed) (servers []netip.Addr, known bool) {
	if len(spec.Nameservers) > 0 {
		return spec.Nameservers, true
	}
	waits, expected := false, false
	for _, link := range spec.Links {
		state, ok := find(link.Name, obs.Links)
		if !ok || !link.DHCP {
			continue
		}
		lease := spec.lease(obs.Clients, state.Name)
		if lease == nil {
			waits, expected = true, expected || state.Carrier
			continue
		}
		for _, s := range lease.Nameservers {
			if !slices.Contains(servers, s) {
				servers = append(servers, s)
			}
		}
	}
	news := slices.ContainsFunc(servers, func(s netip.Addr) bool { return !slices.Contains(obs.Nameservers, s) })
	return servers, !waits || len(servers) > 0 && (news || !expected)
}
