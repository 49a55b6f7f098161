package e2e

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
)

// otherMemoryBytes is what kubelet does not give out beside the cache of pools: 768 MiB for the system, 256 for itself and its containerd, and 100 before
// it evicts (systemReserved, kubeReserved and evictionHard of internal/kube). Without the cache in it, there would be no room for that.
const otherMemoryBytes = (768 + 256 + 100) << 20

// testVolumeMemory: what kubelet gives out to pods leaves room for all that ZFS may keep in memory.
func testVolumeMemory(t *testing.T, ctx context.Context, s *suite) {
	var cache poolv1.GetCacheResponse
	ask(t, ctx, s, &cache, "pool", "cache")
	if cache.GetMaxBytes() < 64<<20 || cache.GetSizeBytes() == 0 {
		t.Fatalf("the cache: %v, want a limit of 64 MiB at least, and something in it", &cache)
	}
	left := s.nodeMemory(t, ctx, "capacity") - s.nodeMemory(t, ctx, "allocatable")
	if want := int64(cache.GetMaxBytes()) + otherMemoryBytes; left < want {
		t.Errorf("kubelet leaves %d MiB, want the %d MiB of the cache and %d MiB of all else", left>>20, cache.GetMaxBytes()>>20, otherMemoryBytes>>20)
	}
}

// nodeMemory is one of the quantities of memory of the Node object, in bytes: capacity or allocatable.
func (s *suite) nodeMemory(t *testing.T, ctx context.Context, of string) int64 {
	t.Helper()
	text := s.kubectl(t, ctx, "get", "node", s.node.Name, "--output", fmt.Sprintf("jsonpath={.status.%s.memory}", of))
	// Kubelet writes kibibytes where they are whole, and else bytes (Quantity of k8s.io/apimachinery).
	unit := int64(1)
	number, kibibytes := strings.CutSuffix(strings.TrimSpace(text), "Ki")
	if kibibytes {
		unit = 1 << 10
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		t.Fatalf("%s of memory of the node is %q: %v", of, text, err)
	}
	return n * unit
}
