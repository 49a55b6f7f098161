package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"

	"github.com/cyvive/cyvive/internal/network"
)

// Wire is the Exchange on real sockets. It needs CAP_NET_RAW, and CAP_NET_BIND_SERVICE for unicast renewals.
type Wire struct {
	// Timeout is how long the first answer is waited for; each of the Tries after the first waits twice as long as the one before. Zero
	// values mean 2 s and 3.
	Timeout time.Duration
	Tries   int
}

// defaultLease is used for a server that names no lease time, against RFC 2131.
const defaultLease = time.Hour

func (w Wire) options() []nclient4.ClientOpt {
	timeout, tries := w.Timeout, w.Tries
	if timeout == 0 {
		timeout = 2 * time.Second
	}
	if tries == 0 {
		tries = 3
	}
	return []nclient4.ClientOpt{nclient4.WithTimeout(timeout), nclient4.WithRetry(tries)}
}

// Request does the four-way exchange of RFC 2131 section 3.1.
func (w Wire) Request(ctx context.Context, link string) (Grant, error) {
	client, err := nclient4.New(link, w.options()...)
	if err != nil {
		return Grant{}, fmt.Errorf("open DHCP client on %s: %w", link, err)
	}
	defer client.Close()
	lease, err := client.Request(ctx, dhcpv4.WithRequestedOptions(
		dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionNTPServers,
		dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue))
	if err != nil {
		return Grant{}, fmt.Errorf("request lease on %s: %w", link, err)
	}
	return newGrant(lease, time.Now())
}

// Renew prolongs a lease, RFC 2131 section 4.4.5.
func (w Wire) Renew(ctx context.Context, link string, grant Grant, rebind bool) (Grant, error) {
	lease, ok := grant.token.(*nclient4.Lease)
	if !ok {
		return Grant{}, fmt.Errorf("renew lease on %s: the grant is not from this exchange", link)
	}
	options := w.options()
	if server := lease.ACK.ServerIdentifier(); !rebind && server != nil {
		options = append(options,
			nclient4.WithUnicast(&net.UDPAddr{IP: lease.ACK.YourIPAddr, Port: nclient4.ClientPort}),
			nclient4.WithServerAddr(&net.UDPAddr{IP: server, Port: nclient4.ServerPort}))
	}
	client, err := nclient4.New(link, options...)
	if err != nil {
		return Grant{}, fmt.Errorf("open DHCP client on %s: %w", link, err)
	}
	defer client.Close()
	renewed, err := client.Renew(ctx, lease)
	var nak *nclient4.ErrNak
	if errors.As(err, &nak) {
		return Grant{}, ErrRefused
	}
	if err != nil {
		return Grant{}, fmt.Errorf("renew lease on %s: %w", link, err)
	}
	return newGrant(renewed, time.Now())
}

// newGrant reads the facts out of a lease. It trusts no value: the address must be one that a host can have.
func newGrant(lease *nclient4.Lease, now time.Time) (Grant, error) {
	ack := lease.ACK
	addr, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	if !ok || !addr.IsGlobalUnicast() {
		return Grant{}, fmt.Errorf("read lease: %s is no address for a host", ack.YourIPAddr)
	}
	bits := 24
	if mask := ack.SubnetMask(); mask != nil {
		ones, size := mask.Size()
		if size != 32 || ones == 0 {
			return Grant{}, fmt.Errorf("read lease: %s is no subnet mask", net.IP(mask))
		}
		bits = ones
	}
	// Divided before it is multiplied: a lease without an end (RFC 2131 section 3.3) is 136 years, of which seven are more than a Duration holds.
	life := max(ack.IPAddressLeaseTime(defaultLease), time.Minute)
	g := Grant{
		Lease:  network.Lease{Address: netip.PrefixFrom(addr, bits), Expires: now.Add(life)},
		Renew:  ack.IPAddressRenewalTime(life / 2),
		Rebind: ack.IPAddressRebindingTime(life / 8 * 7),
		token:  lease,
	}
	if g.Renew <= 0 || g.Rebind <= g.Renew || g.Rebind >= life {
		g.Renew, g.Rebind = life/2, life/8*7
	}
	if routers := ack.Router(); len(routers) > 0 {
		if a, ok := netip.AddrFromSlice(routers[0].To4()); ok && !a.IsUnspecified() {
			g.Lease.Gateway = a
		}
	}
	g.Lease.Nameservers, g.Lease.TimeServers = hosts(ack.DNS()), hosts(ack.NTPServers())
	return g, nil
}

// hosts are the addresses of a list that a host can have.
func hosts(list []net.IP) []netip.Addr {
	var out []netip.Addr
	for _, server := range list {
		if a, ok := netip.AddrFromSlice(server.To4()); ok && !a.IsUnspecified() {
			out = append(out, a)
		}
	}
	return out
}
