package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// cutLimit is how long one cut may take, with all that belongs to it.
const cutLimit = bootTimeout + pushTimeout

// cutPhase is what is cut.
type cutPhase struct {
	name string
	// share of many cuts, in percent; few are how many are made where nothing is said.
	share, few int
	run        func(t *testing.T, n *cutNode, count int)
}

// cutPhases are in the order of a node's life. Each leaves a node that is in order, or none that runs.
func cutPhases() []cutPhase {
	return []cutPhase{
		{"first-boot", 20, 1, cutFirstBoots},
		{"configuration", 25, 1, cutConfigurations},
		// These start with an installation or a release of their own, and so are not among the few.
		{"installation", 20, 0, cutInstallations},
		{"upgrade", 15, 0, cutUpgrades},
		{"trial", 20, 0, cutTrials},
	}
}

// TestPowerCuts cuts the power of a node at random moments of its first boot, of changes of its configuration, of installations on another disk, of
// upgrades and of their trials. What its disks were not told to flush may be lost, in part or as a whole (package powercut). After each cut the node
// comes up by itself on one of the two versions, with the configuration that it had or was being given, and says how the boot before ended; and what was
// cut can be finished.
//
// CUTS says how many; a few are made where it does not. The random numbers are those of SEED, or of a seed that is printed: with it the same moments are
// drawn, and the disks lose alike as far as the node writes alike.
func TestPowerCuts(t *testing.T) {
	e := requireImage(t)
	counts, many := cutCounts(t)
	seed := cutSeed(t)
	t.Logf("SEED=%d; cuts: %v", seed, counts)
	limit := 30 * time.Minute
	for _, count := range counts {
		limit += time.Duration(count) * cutLimit
	}
	ctx := testContext(t, limit)
	n := newCutNode(t, ctx, e, seed)
	n.thorough = many
	n.rehearseFirstBoot(t, ctx)
	for i, phase := range cutPhases() {
		if counts[i] == 0 {
			continue
		}
		// Each has numbers of its own, so that it can be repeated alone.
		n.random = rand.New(rand.NewPCG(seed, uint64(i)+1))
		if !t.Run(phase.name, func(t *testing.T) { phase.run(t, n, counts[i]) }) {
			t.Fatalf("the parts behind %s are left out; SEED=%d", phase.name, seed)
		}
	}
	t.Logf("%d cuts; of %d kB that were not flushed, %d were lost", n.cuts, n.cached>>10, n.lost>>10)
	if err := vacuous(n.cuts, n.lost); err != nil {
		t.Error(err)
	}
}

// vacuous is an error for many cuts at which nothing was lost: then the machine has its disks flush whatever it writes, and what a node forgets to flush
// is not found. At one cut there may have been nothing to lose.
func vacuous(cuts int, lostBytes int64) error {
	const many = 20
	if cuts < many || lostBytes > 0 {
		return nil
	}
	return fmt.Errorf("%d cuts, and none of them lost anything: they are no test of what is flushed", cuts)
}

// cutCounts is how often each phase is cut, and whether that was asked for.
func cutCounts(t *testing.T) (counts []int, many bool) {
	t.Helper()
	text := os.Getenv("CUTS")
	if text == "" {
		for _, p := range cutPhases() {
			counts = append(counts, p.few)
		}
		return counts, false
	}
	total, err := strconv.Atoi(text)
	if err != nil || total < 1 {
		t.Fatalf("CUTS is %q, expected a number such as 200", text)
	}
	var shares []int
	for _, p := range cutPhases() {
		shares = append(shares, p.share)
	}
	return divide(total, shares), true
}

// divide divides a number by shares, so that the parts add up to it. What is left by rounding down goes to those that lose most by it.
func divide(total int, shares []int) []int {
	sum := 0
	for _, s := range shares {
		sum += s
	}
	parts, order, left := make([]int, len(shares)), make([]int, len(shares)), total
	for i, s := range shares {
		parts[i], order[i] = total*s/sum, i
		left -= parts[i]
	}
	slices.SortStableFunc(order, func(a, b int) int { return total*shares[b]%sum - total*shares[a]%sum })
	for _, i := range order[:left] {
		parts[i]++
	}
	return parts
}

// cutSeed is that of SEED, or a new one.
func cutSeed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("SEED")
	if text == "" {
		return rand.Uint64()
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("SEED is %q, expected a number that an earlier run has printed", text)
	}
	return seed
}

func TestVacuous(t *testing.T) {
	for _, c := range []struct {
		cuts int
		lost int64
		want bool
	}{{0, 0, false}, {6, 0, false}, {20, 0, true}, {200, 512, false}} {
		if err := vacuous(c.cuts, c.lost); (err != nil) != c.want {
			t.Errorf("%d cuts that lost %d bytes: %v", c.cuts, c.lost, err)
		}
	}
}

func TestDivide(t *testing.T) {
	var shares []int
	for _, p := range cutPhases() {
		shares = append(shares, p.share)
	}
	for total, want := range map[int][]int{200: {40, 50, 40, 30, 40}, 7: {2, 2, 1, 1, 1}, 1: {0, 1, 0, 0, 0}} {
		if d := cmp.Diff(want, divide(total, shares)); d != "" {
			t.Errorf("%d (-want +got):\n%s", total, d)
		}
	}
	for total := 1; total < 300; total++ {
		sum := 0
		for _, part := range divide(total, shares) {
			sum += part
		}
		if sum != total {
			t.Fatal(fmt.Sprint(total, " is divided into ", sum))
		}
	}
}
