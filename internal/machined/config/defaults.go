package config

import "net/netip"

// Defaults of fields that a document leaves out.
const (
	defaultDNSDomain = "cluster.local"
	// MaxBytes is the largest configuration that Parse reads.
	MaxBytes = 1 << 20
)

var (
	defaultPodCIDR     = netip.MustParsePrefix("10.244.0.0/16")
	defaultServiceCIDR = netip.MustParsePrefix("10.96.0.0/12")
)

// DefaultNetwork is the network configuration of a node that has no Network document or no valid configuration at all: the first
// physical link by DHCP.
func DefaultNetwork() Network {
	return Network{Links: []Link{{Name: FirstLink, DHCP: true}}}
}
