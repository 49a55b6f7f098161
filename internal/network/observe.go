package network

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/cyvive/cyvive/internal/service"
)

// Host is the kernel's side of the network. Methods that change something succeed if it already is as asked for.
type Host interface {
	// Links returns all links but loopback, by interface index.
	Links(ctx context.Context) ([]LinkState, error)
	// SetUp sets the administrative state to up.
	SetUp(ctx context.Context, link string) error
	// SetDown sets it to down, and with that removes the routes by the link.
	SetDown(ctx context.Context, link string) error
	// AddAddress adds an address, marked as the domain's.
	AddAddress(ctx context.Context, link string, address netip.Prefix) error
	DeleteAddress(ctx context.Context, link string, address netip.Prefix) error
	// AddGateway adds a default route by way of gateway, marked as the domain's. On a link whose addresses are alone in their networks (/32), the
	// gateway is on the link. While another default route has its metric it is fs.ErrExist.
	AddGateway(ctx context.Context, link string, gateway NextHop) error
	DeleteGateway(ctx context.Context, link string, gateway NextHop) error
	// Unreachable returns the ranges that AddUnreachable added.
	Unreachable(ctx context.Context) ([]netip.Prefix, error)
	// AddUnreachable has the kernel answer whoever sends to a range that it cannot be reached, at once.
	AddUnreachable(ctx context.Context, prefix netip.Prefix) error
	DeleteUnreachable(ctx context.Context, prefix netip.Prefix) error
	Hostname() (string, error)
	SetHostname(name string) error
	// Nameservers returns what the resolver's configuration names, and whether there is one.
	Nameservers() ([]netip.Addr, bool, error)
	// SetNameservers replaces the resolver's configuration.
	SetNameservers(servers []netip.Addr) error
}

// DHCP runs a client for each link it is told to, until it is told to stop. It wakes the loop of the domain by itself when a lease is won,
// renewed with changes, or lost.
type DHCP interface {
	Start(link string)
	Stop(link string)
	// Refuse has the link's client let go of a lease of that address, if it holds one, and ask again after some time. Until there is another, the lease stays,
	// as one that is Refused. It does not block.
	Refuse(link string, address netip.Prefix)
	// Clients returns the links that have a client, each with its lease, or nil while there is none.
	Clients() map[string]*Lease
}

// Services is the kernel's translation of service addresses to backends, for the processes of the workload plane. It belongs to the kernel,
// and goes on without this program.
type Services interface {
	Observe(ctx context.Context) (ServicesState, error)
	// Set makes the translation that of table. While it works, each service has its old backends or its new ones. A table that is too large
	// is an error, and changes nothing.
	Set(ctx context.Context, table *service.Table) error
	// Attach puts this program's version of the translation in force, in the place of an older one if there is one. Connections in between
	// are translated by the one or the other.
	Attach(ctx context.Context) error
}

// ServicesState is the translation as found.
type ServicesState struct {
	Table *service.Table
	// Damaged counts entries that belong to nothing, or are missing: an interrupted Set leaves such. Set removes them.
	Damaged int
	// Attached says that this program's version is in force.
	Attached bool
}

// Observed is the network as found.
type Observed struct {
	Links       []LinkState
	Unreachable []netip.Prefix
	Clients     map[string]*Lease
	Hostname    string
	Nameservers []netip.Addr
	// Resolver is false while there is no resolver configuration at all.
	Resolver bool
	// Services is looked at only if the specification has services.
	Services ServicesState
}

// Reconciler is the network domain. It implements the Domain of package reconcile.
type Reconciler struct {
	host     Host
	dhcp     DHCP
	services Services
}

// New returns the domain on the given kernel and DHCP clients.
func New(host Host, dhcp DHCP, services Services) *Reconciler {
	return &Reconciler{host: host, dhcp: dhcp, services: services}
}

// Observe reads links, leases, host name, resolver configuration and services.
func (r *Reconciler) Observe(ctx context.Context, spec Spec) (Observed, error) {
	var obs Observed
	var err error
	if obs.Links, err = r.host.Links(ctx); err != nil {
		return obs, fmt.Errorf("list links: %w", err)
	}
	if obs.Unreachable, err = r.host.Unreachable(ctx); err != nil {
		return obs, fmt.Errorf("list unreachable ranges: %w", err)
	}
	if obs.Hostname, err = r.host.Hostname(); err != nil {
		return obs, fmt.Errorf("read host name: %w", err)
	}
	if obs.Nameservers, obs.Resolver, err = r.host.Nameservers(); err != nil {
		return obs, fmt.Errorf("read resolver configuration: %w", err)
	}
	obs.Clients = r.dhcp.Clients()
	if spec.Services == nil {
		return obs, nil
	}
	// What cannot be read is set anew, behind all else that is to be done, and that says what is wrong.
	if state, err := r.services.Observe(ctx); err == nil {
		obs.Services = state
	}
	return obs, nil
}
