package machined

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/dataset"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// stuck is a domain whose system calls do not return.
type stuck struct{ hang chan struct{} }

func (s stuck) Observe(context.Context, int) (int, error) {
	<-s.hang
	return 0, nil
}

func (stuck) Diff(int, int) []time.Duration                   { return []time.Duration{time.Second} }
func (stuck) Apply(context.Context, int, time.Duration) error { return nil }
func (stuck) Status(int, int) int                             { return 0 }

// TestPreviewOfStuckDomains: whoever asks does not wait longer than for one domain, whatever that does, since the end of a trial may wait for them.
func TestPreviewOfStuckDomains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		domain := stuck{make(chan struct{})}
		a := &Agent{views: map[string]view{}}
		for _, name := range []string{plan.Network, plan.Storage} {
			ask := make(chan func(context.Context))
			a.views[name] = viewOf(domain, ask, func(plan.Desired) *int { return new(int) })
			go func() { (<-ask)(t.Context()) }()
		}
		a.views[plan.Etcd] = viewOf(domain, make(chan func(context.Context)), func(plan.Desired) *int { return new(int) }) // its loop is in a pass
		domains := []server.ConfigDomain{{Name: agentDomain}, {Name: plan.Network}, {Name: plan.Storage}, {Name: plan.Etcd}}
		begun := time.Now()
		a.askDomains(t.Context(), plan.Desired{}, domains)
		if took := time.Since(begun); took != previewTimeout {
			t.Errorf("it took %v", took)
		}
		for _, d := range domains[1:] {
			if !strings.Contains(d.Waits, "cannot be told now") || !strings.Contains(d.Waits, context.DeadlineExceeded.Error()) {
				t.Errorf("%s waits for %q", d.Name, d.Waits)
			}
		}
		close(domain.hang)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := a.views[plan.Etcd](gone, plan.Desired{}); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller that has gone: %v", err)
		}
	})
}

// TestPreviews: what waits for a person, and what cannot be as it is declared, is told beforehand, too.
func TestPreviews(t *testing.T) {
	spec := pool.Spec{Pools: []pool.PoolSpec{{Name: "tank", Presence: pool.Destroyed}}}
	obs := pool.Observed{Pools: []pool.Pool{{Name: "tank", GUID: 7, State: pool.Online, AllocatedBytes: 5 << 20}}}
	want := []string{"destroy pool tank (7); all that is in it is lost: 5 MiB on 0 devices (waits for a confirmation: nodectl pool confirm tank)"}
	if d := cmp.Diff(want, poolPreview(spec, obs)); d != "" {
		t.Errorf("not confirmed (-want +got):\n%s", d)
	}
	spec.Confirmed = []pool.Confirmation{{Pool: "tank", Operation: "destroy pool tank (7); all that is in it is lost"}}
	if d := cmp.Diff([]string{"destroy pool tank (7); all that is in it is lost"}, poolPreview(spec, obs)); d != "" {
		t.Errorf("confirmed (-want +got):\n%s", d)
	}
	const undeclared = "it is in no document, and is left alone"
	got := datasetPreview(dataset.Spec{
		Roots: []string{"tank", "gone"},
		Datasets: []dataset.Dataset{
			{Name: "tank/f", Kind: zfs.Volume, SizeBytes: 1 << 20}, {Name: "tank/new", Kind: zfs.Filesystem}, {Name: "gone/x", Kind: zfs.Filesystem},
		},
	}, dataset.Observed{
		Datasets: map[string]dataset.State{
			"tank": {Kind: zfs.Filesystem}, "tank/f": {Kind: zfs.Filesystem}, "tank/old": {Kind: zfs.Filesystem}, "tank/older": {Kind: zfs.Filesystem},
		},
		Missing: map[string]string{"gone": "zfs list gone: does not exist"},
	}, []dataset.Condition{{Dataset: "tank/older", Reason: dataset.NotDeclared, Message: undeclared}})
	if d := cmp.Diff([]string{
		"create file system tank/new",
		"dataset gone/x: what would be done is known once its pool is here: gone: zfs list gone: does not exist",
		"dataset tank/f: a volume is declared, and there is a filesystem; declare another name, or destroy that once it is in no document",
		"dataset tank/old: " + undeclared,
	}, got); d != "" {
		t.Errorf("datasets (-want +got):\n%s", d)
	}
}

// TestLooksThatTakeLong: what has its turn may take longer than it may wait for that.
func TestLooksThatTakeLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ask, begun := make(chan func(context.Context)), time.Now()
		slowly := func(ctx context.Context) (int, error) {
			time.Sleep(2 * previewTimeout)
			return 7, ctx.Err()
		}
		go func() { (<-ask)(t.Context()) }()
		if got, err := inLoop(t.Context(), ask, poolLookTimeout, slowly); got != 7 || err != nil {
			t.Errorf("got %d, %v", got, err)
		}
		if _, err := inLoop(t.Context(), ask, poolLookTimeout, slowly); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 3*previewTimeout {
			t.Errorf("a loop in a pass: %v after %v", err, time.Since(begun))
		}
	})
}

// TestAgentOperations: what the agent itself does has a line for each field, and for each replication job one.
func TestAgentOperations(t *testing.T) {
	from := &config.Config{ReplicationJobs: []config.ReplicationJob{{Name: "stays", Target: "tank/a"}, {Name: "goes"}}}
	to := &config.Config{ReplicationJobs: []config.ReplicationJob{{Name: "stays", Target: "tank/b", Prefix: "hourly-"}, {Name: "comes"}}}
	to.Machine.Upgrade.Sources = []config.UpgradeSource{{Host: "registry.example"}}
	to.Machine.Disk.Encryption.KMS = &config.KeyServer{Endpoint: "https://kms.example"}
	to.Machine.Extensions = []config.Extension{{Name: "one", Version: "1.0.0"}, {Name: "two", Version: "2.0.0"}}
	want := []string{
		"have the next `nodectl disk reseal` go by another key server", "use as extensions: one 1.0.0, two 2.0.0", "know 1 servers of releases by their certificates",
		"take up the replication job comes", "end the replication job goes; what it has sent or received stays",
		"go on with the replication job stays by what is new in it",
	}
	if d := cmp.Diff(want, agentOperations(from, to)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestWithLater(t *testing.T) {
	now := []server.ConfigDomain{{Name: "agent", Operations: []string{"a"}}, {Name: "etcd", Waits: "for x"}, {Name: "pools", Waits: "for x"}, {Name: "storage", Waits: untold + "x"}}
	whole := []server.ConfigDomain{
		{Name: "agent", Operations: []string{"a", "b"}}, {Name: "etcd", Waits: "for x"}, {Name: "pools", Waits: "for y"}, {Name: "network", Waits: "for z"},
		{Name: "kubernetes"}, {Name: "storage", Operations: []string{"a"}},
	}
	want := []server.ConfigDomain{
		{Name: "agent", Operations: []string{"a", "at the next boot: b"}}, {Name: "etcd", Waits: "for x"}, {Name: "pools", Waits: "for x; at the next boot: for y"},
		{Name: "storage", Waits: untold + "x"}, {Name: "network", Waits: "at the next boot: for z"}, {Name: "kubernetes", Operations: []string{"at the next boot: go by the new configuration"}},
	}
	if d := cmp.Diff(want, withLater(now, whole)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
