package kube

import (
	"encoding/json"
	"fmt"
	"net/netip"
)

const (
	// cniFile is the CNI configuration, in a folder that is bound as /etc/cni/net.d.
	cniFile = "10-cyvive.conflist"
	// cniVersion is the newest of the specification that has GC and STATUS.
	cniVersion = "1.1.0"
	// podMTU is the MTU of pods. There is no tunnel below them yet.
	podMTU = 1500
)

// cniConfig returns the CNI network configuration for the node's pod range.
func cniConfig(pods netip.Prefix) string {
	data, err := json.MarshalIndent(map[string]any{
		"cniVersion": cniVersion,
		"name":       "cyvive",
		"plugins": []any{map[string]any{
			"type": "cyvive", "podCIDR": pods.String(), "mtu": podMTU,
		}},
	}, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("kube: encode CNI configuration: %v", err)) // plain values only
	}
	return string(data) + "\n"
}
