package cni

import (
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
)

// config is the network configuration that containerd passes on standard input.
type config struct {
	types.PluginConf
	// PodCIDR is the node's part of the cluster's pod range.
	PodCIDR string `json:"podCIDR"`
	// MTU of the pod's link; 0 is the kernel's.
	MTU int `json:"mtu"`

	pods netip.Prefix
}

const (
	minMTU = 1280 // RFC 8200 section 5
	maxMTU = 65535
)

// parseConfig reads and checks a configuration.
func parseConfig(data []byte) (config, error) {
	var c config
	if err := json.Unmarshal(data, &c); err != nil {
		return config{}, fmt.Errorf("read network configuration: %w", err)
	}
	pods, err := netip.ParsePrefix(c.PodCIDR)
	switch {
	case err != nil:
		return config{}, fmt.Errorf("read network configuration: podCIDR: %w", err)
	case !pods.Addr().Is4() || pods.Bits() > 30:
		return config{}, fmt.Errorf("read network configuration: podCIDR: got %s, expected an IPv4 prefix of at most 30 bits", pods)
	case c.MTU != 0 && (c.MTU < minMTU || c.MTU > maxMTU):
		return config{}, fmt.Errorf("read network configuration: mtu: got %d, expected %d to %d", c.MTU, minMTU, maxMTU)
	}
	c.pods = pods.Masked()
	return c, nil
}
