package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
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
	// In the largest unit of which it is a whole number (CanonicalizeBytes of Quantity, k8s.io/apimachinery): kibibytes, where the memory is no whole number of MiB.
	number, unit := strings.TrimSpace(text), int64(1)
	for suffix, bytes := range map[string]int64{"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30} {
		if n, ok := strings.CutSuffix(number, suffix); ok {
			number, unit = n, bytes
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		t.Fatalf("%s of memory of the node is %q: %v", of, text, err)
	}
	return n * unit
}

// fillCache has ZFS keep half of what it may in memory, or more: what is written is kept as what is read is. The files lie where no pod sees them, and are emptied at
// the end of the test.
func (s *survivors) fillCache(t *testing.T, ctx context.Context) {
	t.Helper()
	const piece, pieces = 1 << 20, 16
	random := rand.New(rand.NewPCG(6, 0))
	for written := uint64(0); ; written += piece * pieces {
		var cache poolv1.GetCacheResponse
		ask(t, ctx, s.suite, &cache, "pool", "cache")
		if cache.GetSizeBytes() >= cache.GetMaxBytes()/2 {
			t.Logf("ZFS keeps %d MiB of %d in memory, of which %d were written for it", cache.GetSizeBytes()>>20, cache.GetMaxBytes()>>20, written>>20)
			return
		}
		if written > cache.GetMaxBytes() {
			t.Fatalf("ZFS keeps %d MiB in memory after %d were written, want half of %d", cache.GetSizeBytes()>>20, written>>20, cache.GetMaxBytes()>>20)
		}
		for i := range pieces {
			file := fmt.Sprintf("%s/var/filler-%d-%d", hostRoot, written, i)
			if err := s.probe.Write(ctx, file, noise(random, piece)); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.probe.Write(context.WithoutCancel(ctx), file, nil); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
