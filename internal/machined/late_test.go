package machined

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/maintenance"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/replicate"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/state"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storagetest"
	"github.com/cyvive/cyvive/internal/trust/recovery"
)

// TestYielded: the snapshot that has an encrypted state volume mounted has nothing of what was found without it.
func TestYielded(t *testing.T) {
	t.Parallel()
	_, key := newOwner(t)
	for name, c := range map[string]struct {
		came   coming
		volume storage.VolumeStatus
		want   coming
	}{
		"it opens":     {missed, storage.VolumeStatus{Name: storage.State, Encrypted: true, Mounted: true}, reading},
		"it is shut":   {missed, storage.VolumeStatus{Name: storage.State, Encrypted: true, Shut: true}, missed},
		"it is plain":  {missed, storage.VolumeStatus{Name: storage.State, Mounted: true}, missed},
		"it is data":   {missed, storage.VolumeStatus{Name: storage.Data, Encrypted: true, Mounted: true}, missed},
		"it was there": {inTime, storage.VolumeStatus{Name: storage.State, Encrypted: true, Mounted: true}, inTime},
		"it was read":  {decided, storage.VolumeStatus{Name: storage.State, Encrypted: true, Mounted: true}, decided},
	} {
		s := snapshot{came: c.came, without: true, owner: maintenance.Owner{Key: key}, input: plan.Input{
			Searched: true, Lost: true, Config: &config.Config{}, Trust: &plan.Trust{}, Passphrase: config.NewSecret("kept"),
		}}
		s.storage = state.Report[storage.Status]{Status: storage.Status{Volumes: []storage.VolumeStatus{c.volume}}}
		got := s.yielded()
		yields := c.want == reading
		if got.came != c.want || (got.input.Config == nil) != yields || (got.input.Trust == nil) != yields || got.input.Searched == yields ||
			got.input.Lost == yields || got.owner.Key.IsZero() != yields || got.without == yields || got.input.Passphrase.IsZero() {
			t.Errorf("%s: %s, %+v", name, got.came, got)
		}
	}
}

// shutNode is a node with a configuration on its encrypted disk, which is shut, and cannot be read at first when it opens.
type shutNode struct {
	*node
	*vault
	folder string
}

// startShut makes one; evil is what somebody has put to the machine meanwhile, empty if nothing, and claims an owner.
func startShut(t *testing.T, good, evil string, claims ...maintenance.Claim) *shutNode {
	t.Helper()
	dir, disk := t.TempDir(), storagetest.New(1<<30)
	n := &shutNode{vault: &vault{disk: disk, key: recovery.New()}, folder: filepath.Join(dir, "config")}
	n.node = startNodeWith(t, dir, disk, encrypts(disk, n.vault))
	n.source.set([]byte(good))
	n.await("storage", func(s snapshot) bool { return s.storage.Status.Ready && s.identity && s.input.Config != nil })
	n.awaitOther("a configuration that is stored", func() bool {
		n.configs.mu.Lock()
		defer n.configs.mu.Unlock()
		return n.configs.store != nil && n.configs.store.Record().Current != 0
	})
	n.end()
	disk.Missing("what opens it is away")
	disk.Boot(true)
	if err := errors.Join(os.Rename(n.folder, n.folder+".kept"), os.WriteFile(n.folder, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	n.node = startNodeWith(t, dir, disk, func(c *Config) {
		encrypts(disk, n.vault)(c)
		c.Boot.ID = "second"
		c.Source.(*source).own(claims...)
	})
	if evil != "" {
		n.source.set([]byte(evil))
	}
	return n
}

// open has what opens the disk come back, and waits until the node has seen that it cannot read what is on it.
func (n *shutNode) open() {
	n.t.Helper()
	n.disk().Missing("")
	n.wakers[plan.Storage].Wake()
	n.await("an open disk", func(s snapshot) bool { return mounted(s, storage.State) && s.came == reading && s.without })
}

func (n *shutNode) disk() *storagetest.Machine { return n.vault.disk }

// checkNothing wants nothing in force, and nobody let in.
func (n *shutNode) checkNothing() {
	n.t.Helper()
	ctx := n.t.Context()
	if s := n.snapshot(); s.input.Config != nil || !s.owner.Key.IsZero() || s.desired.Etcd != nil || s.mode != maintenance.Open {
		n.t.Errorf("in force is %v, the owner is %+v, the mode %s", s.input.Config, s.owner, s.mode)
	}
	if id := n.identityNow(); id.Clients != nil || id.Unconfigured.Audience != server.AudienceAnybody {
		n.t.Errorf("clients are let in: %+v", id.Unconfigured)
	}
	request := server.ConfigRequest{By: "his", ConfigDocument: server.ConfigDocument{Document: string(standalone(n.t))}}
	for what, err := range map[string]error{
		"apply":            second(configsAPI{n.Agent}.ApplyConfig(ctx, request)),
		"get":              second(configsAPI{n.Agent}.GetConfig(ctx, 0)),
		"the recovery key": second(disksAPI{n.Agent}.RecoveryKey(ctx)),
		"reseal":           disksAPI{n.Agent}.Reseal(ctx),
		"rotate":           second(disksAPI{n.Agent}.RotateKeys(ctx)),
		"install":          second(n.ownDocuments()),
	} {
		if !errors.Is(err, server.ErrUnavailable) {
			n.t.Errorf("%s: %v", what, err)
		}
	}
}

// mend has the store read, and wants the configuration on it in force.
func (n *shutNode) mend() {
	n.t.Helper()
	if err := errors.Join(os.Remove(n.folder), os.Rename(n.folder+".kept", n.folder)); err != nil {
		n.t.Fatal(err)
	}
	n.await("the configuration on the disk", func(s snapshot) bool {
		return s.input.Config != nil && s.input.Config.Machine.Hostname == "node1" && s.mode == maintenance.Configured && s.came == inTime
	})
	if id := n.identityNow(); id.Clients == nil {
		n.t.Error("nobody is let in by it")
	}
}

// otherModes are configurations of a node that something else than a TPM opens.
func otherModes(t *testing.T) map[string]string {
	return map[string]string{"kms": string(withKeyServer(t)), "passphrase": string(withEncryption(t, config.EncryptionPassphrase))}
}

// TestFoundUntilItOpens: whoever has the machine keeps the disk shut for a while, and puts a configuration and an owner of his to it. The node goes by them, since
// it could not be reached otherwise; and from when its disk opens by what is on that, and by nothing else.
func TestFoundUntilItOpens(t *testing.T) {
	t.Parallel()
	for mode, good := range otherModes(t) {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			_, his := newOwner(t)
			n := startShut(t, good, strings.Replace(good, "node1", "evil", 1), maintenance.Claim{From: "SMBIOS", Key: his})
			n.await("his configuration", func(s snapshot) bool {
				return s.input.Config != nil && s.input.Config.Machine.Hostname == "evil" && s.came == missed
			})
			n.awaitOther("an API that answers by it", func() bool { return n.identityNow().Clients != nil })
			if _, err := (disksAPI{n.Agent}).RecoveryKey(t.Context()); !errors.Is(err, server.ErrUnavailable) {
				t.Errorf("the recovery key of a shut disk: %v", err)
			}
			n.open()
			n.checkNothing()
			n.mend()
		})
	}
}

// TestFoundWhileItOpens: what is put to the machine when its disk is open already, and not read yet, does not count either.
func TestFoundWhileItOpens(t *testing.T) {
	t.Parallel()
	for mode, good := range otherModes(t) {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			n := startShut(t, good, "")
			n.await("a disk that waits", func(s snapshot) bool { return s.came == missed && s.storage.Status.StateAwaits != "" })
			n.open()
			_, his := newOwner(t)
			n.source.own(maintenance.Claim{From: "a volume", Key: his})
			n.source.set([]byte(strings.Replace(good, "node1", "evil", 1)))
			for range 4 {
				n.configs.changed.Wake()
				time.Sleep(100 * time.Millisecond)
			}
			n.checkNothing()
			n.mend()
		})
	}
}

// TestConnectedWhileItOpens: who connects while what is on the disk is read is refused, and answered soon after, though the authority of clients is the one that was
// in force before: nothing is done on a connection of meanwhile, so that has to end.
func TestConnectedWhileItOpens(t *testing.T) {
	t.Parallel()
	good := withKeyServer(t)
	n := startShut(t, string(good), string(good))
	n.await("the same configuration", func(s snapshot) bool { return s.input.Config != nil && s.came == missed })
	n.awaitOther("an API that answers by it", func() bool { return n.identityNow().Clients != nil })
	if err := errors.Join(os.Remove(n.folder), os.Rename(n.folder+".kept", n.folder)); err != nil {
		t.Fatal(err)
	}
	n.configs.mu.Lock() // it is not read before
	read := sync.OnceFunc(n.configs.mu.Unlock)
	t.Cleanup(read)
	n.disk().Missing("")
	n.wakers[plan.Storage].Wake()
	n.await("an open disk", func(s snapshot) bool { return s.came == reading })
	o := &owned{node: n.node, authority: authorityOf(t, good)}
	client := machinev1.NewMachineServiceClient(o.dial(t, "alice", "node:admin"))
	if _, err := client.GetVersion(t.Context(), &machinev1.GetVersionRequest{}); err == nil {
		t.Error("a client is answered before the disk was read")
	}
	read()
	n.await("the configuration on the disk", func(s snapshot) bool { return s.input.Config != nil && s.came == inTime })
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		_, err := client.GetVersion(t.Context(), &machinev1.GetVersionRequest{})
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the client is not answered on a connection of before: %v", err)
		}
	}
}

// TestNothingStoredYet: the power failed between the making of the disk and the storing of its first configuration. What is found counts, also when the
// disk opens late.
func TestNothingStoredYet(t *testing.T) {
	t.Parallel()
	good := string(withKeyServer(t))
	n := startShut(t, good, good)
	n.await("the configuration", func(s snapshot) bool { return s.input.Config != nil && s.came == missed })
	// As it is then: data was not begun, and state has no key for it.
	n.disk().SetContents("/dev/vda7", storage.Contents{Blank: true})
	n.disk().ForgetKey(storage.Data)
	n.open()
	if err := errors.Join(os.Remove(n.folder), os.RemoveAll(n.folder+".kept")); err != nil {
		t.Fatal(err)
	}
	n.await("the configuration again", func(s snapshot) bool { return s.input.Config != nil && s.came == inTime && s.storage.Status.Ready })
	n.awaitOther("a configuration that is stored", func() bool {
		n.configs.mu.Lock()
		defer n.configs.mu.Unlock()
		return n.configs.store.Record().Current == 1
	})
}

// TestJobsOfAFoundConfiguration: by what was found without the state volume no other node is answered as one of a job, and no job reaches one.
func TestJobsOfAFoundConfiguration(t *testing.T) {
	t.Parallel()
	a, b := replicatingNode(t, "node-a"), replicatingNode(t, "node-b")
	a.configure(b, config.ReplicationJob{Direction: config.DirectionPush, Run: config.RunHere})
	jobs, err := plan.Replications(a.Agent.snapshot().input.Config)
	if err != nil || len(jobs) != 1 {
		t.Fatalf("jobs %+v, %v", jobs, err)
	}
	for _, came := range []coming{missed, reading} {
		a.update(func(s *snapshot) { s.came = came })
		if named := a.namedPeers(); len(named) > 0 {
			t.Errorf("%s: nodes are answered: %+v", came, named)
		}
		if _, _, err := a.connectPeer(jobs[0]); !errors.Is(err, replicate.ErrNotReady) {
			t.Errorf("%s: a job reaches its peer: %v", came, err)
		}
	}
	a.update(func(s *snapshot) { s.came = inTime })
	_, conn, err := a.connectPeer(jobs[0])
	if err != nil || len(a.namedPeers()) == 0 {
		t.Fatalf("once it was read: %v, and nodes %+v", err, a.namedPeers())
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}
