package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/cyvive/cyvive/internal/pki/store"
)

// podRange is the file in which a node keeps its pod range over boots, so that the network
// of its pods is there when the API server answers, and not some time after it. It lies in
// the pool in which the data of etcd are, of which it is a copy, and goes with them. Pods
// have addresses of no other range: where the API server tells of another, the plane ends
// (EndPlane), and what is kept is forgotten.
type podRange struct {
	// Of identifies the node of the cluster whose range it is.
	Of string `json:"of"`
	// PodCIDR is the range.
	PodCIDR netip.Prefix `json:"podCIDR"`
}

// rangeOwner identifies the node of a cluster.
func rangeOwner(spec Spec) string {
	return store.Fingerprint([]string{spec.NodeName, string(spec.CA.CertificatePEM()), spec.PodCIDR.String()})
}

// readPodRange returns the range that was kept for the node of this cluster, or the zero
// Prefix: what is not there, cannot be read or is no part of the cluster's is asked for.
func readPodRange(path string, spec Spec) netip.Prefix {
	data, err := os.ReadFile(path)
	if err != nil {
		return netip.Prefix{}
	}
	var kept podRange
	if json.Unmarshal(data, &kept) != nil || kept.Of != rangeOwner(spec) || !isPartOf(kept.PodCIDR, spec.PodCIDR) {
		return netip.Prefix{}
	}
	return kept.PodCIDR
}

// isPartOf reports whether p is a range of addresses within all.
func isPartOf(p, all netip.Prefix) bool {
	return p.IsValid() && p == p.Masked() && p.Bits() >= all.Bits() && all.Contains(p.Addr())
}

// keepPodRange keeps a range for the next boot. It does not sync: a file that a power cut
// took is written again when the API server has told of the range.
func keepPodRange(path string, spec Spec, pods netip.Prefix) error {
	data, err := json.Marshal(podRange{rangeOwner(spec), pods})
	if err != nil {
		return fmt.Errorf("keep pod range: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("keep pod range: %w", err)
	}
	if err := store.Replace(path, data, 0o600, 0); err != nil {
		return fmt.Errorf("keep pod range: %w", err)
	}
	return nil
}

// forgetPodRange has the next boot ask.
func forgetPodRange(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget pod range: %w", err)
	}
	return nil
}

// rangeChanged reports whether the API server tells of another range of the node than
// that by which its pods have their addresses, or of none: then the node is another to it
// than it was, and the range may be another node's.
func rangeChanged(obs Observed) bool {
	return obs.KeptRange.IsValid() && obs.API.Node != nil && obs.API.Node.PodCIDR != obs.KeptRange
}
