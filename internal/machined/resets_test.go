package machined

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/etcd"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/reset"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/pki"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storagetest"
)

// resetDisk is the note and the volumes of a node. After some operations that change it the power fails: it does nothing any more.
type resetDisk struct {
	mu      sync.Mutex
	machine *storagetest.Machine
	note    []byte
	wiped   []string
	left    int
	// writes are errors of writing the note, one for each try; nil is none.
	writes  []error
	members int
	// faults are errors of leaving, one for each try.
	faults []error
	leaves int
	// sealed is a machine with a TPM, whose configuration wants an encrypted disk.
	sealed bool
}

var errPower = errors.New("the power failed")

// change is one operation that changes something.
func (d *resetDisk) change(do func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left--; d.left < 0 {
		return errPower
	}
	do()
	return nil
}

func (d *resetDisk) read() ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.note), nil
}

func (d *resetDisk) write(data []byte) error {
	var failed error
	err := d.change(func() {
		if len(d.writes) > 0 {
			failed, d.writes = d.writes[0], d.writes[1:]
		}
		if failed == nil {
			d.note = slices.Clone(data)
		}
	})
	return errors.Join(err, failed)
}

func (d *resetDisk) wipe(_ context.Context, volume string) error {
	mounted, err := d.machine.Mounted([]string{"/state", "/var"})
	if err != nil || len(mounted) > 0 {
		return fmt.Errorf("wipe %s while %v is mounted: %w", volume, mounted, err)
	}
	return d.change(func() {
		d.machine.SetContents(map[string]string{storage.State: "/dev/vda6", storage.Data: "/dev/vda7"}[volume], storage.Contents{Blank: true})
		d.wiped = append(d.wiped, volume)
	})
}

func (d *resetDisk) leave(context.Context, *pki.Authority) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leaves++
	if len(d.faults) > 0 {
		err := d.faults[0]
		d.faults = d.faults[1:]
		return false, err
	}
	if d.members > 1 {
		d.members--
		return true, nil
	}
	return false, nil
}

// resettable starts an agent in a boot of the machine.
func (d *resetDisk) boot(t *testing.T, state, boot string) *node {
	t.Helper()
	return startNodeWith(t, state, d.machine, func(c *Config) {
		c.Boot.ID = boot
		if d.sealed {
			withTPM(d.machine, nil)(c)
		}
		c.Resets = &Resets{
			Read: d.read, Wipe: d.wipe, Leave: d.leave,
			Write: d.write,
			Clear: func() error { return d.change(func() { d.note = nil }) },
		}
	})
}

func newResetDisk() *resetDisk {
	return &resetDisk{machine: storagetest.New(1 << 30), left: 1 << 30, members: 1}
}

// state is the note and what was wiped.
func (d *resetDisk) state() (note string, wiped []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return string(d.note), slices.Clone(d.wiped)
}

// powerOn starts the machine again.
func (d *resetDisk) powerOn() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left = 1 << 30
	d.machine.Boot(false)
}

func order(t *testing.T) server.ResetOrder {
	t.Helper()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return server.ResetOrder{State: true, Data: true, Confirm: name, By: "alice"}
}

// reset calls the API.
func (n *node) reset(o server.ResetOrder) (said []string, err error) {
	err = resetsAPI{n.Agent}.Reset(n.t.Context(), o, func(s server.ResetStage, what string) error {
		said = append(said, fmt.Sprintf("%d %s", s, what))
		return nil
	})
	return said, err
}

func mounts(s snapshot) bool { return s.storage.Status.Ready }

// enrols is when the volumes have their recovery keys too, which comes after they are mounted.
func enrols(s snapshot) bool { return mounts(s) && s.storage.Satisfied }

func TestReset(t *testing.T) {
	for name, test := range map[string]struct {
		cluster bool
		members int
		change  func(o *server.ResetOrder)
		said    []string
		wiped   []string
	}{
		"both, of no cluster": {
			false, 1, func(*server.ResetOrder) {},
			[]string{"1 the node leaves its cluster", "1 the node belongs to no cluster", "2 at the next start, before any volume is mounted: wipe data and state, asked for by alice"},
			[]string{"data", "state"},
		},
		"data, the only member": {
			true, 1, func(o *server.ResetOrder) { o.State = false },
			[]string{
				"1 the node leaves its cluster", "1 its member of etcd is the only one, and is not removed",
				"2 at the next start, before any volume is mounted: wipe data, asked for by alice",
			},
			[]string{"data"},
		},
		"state, one of three": {
			true, 3, func(o *server.ResetOrder) { o.Data = false },
			[]string{
				"1 the node leaves its cluster", "1 its member was removed from etcd",
				"2 at the next start, before any volume is mounted: wipe state, asked for by alice",
			},
			[]string{"state"},
		},
		"forced": {
			true, 3, func(o *server.ResetOrder) { o.Forced = true },
			[]string{"2 at the next start, before any volume is mounted: wipe data and state, asked for by alice"},
			[]string{"data", "state"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, state := newResetDisk(), t.TempDir()
			d.members = test.members
			n := d.boot(t, state, "boot-1")
			if test.cluster {
				n.source.set(documents(t))
				n.await("etcd wanted", func(s snapshot) bool { return s.desired.Etcd != nil })
			} else {
				n.source.fail(errors.New("none"))
			}
			n.await("volumes", mounts)
			o := order(t)
			test.change(&o)
			said, err := n.reset(o)
			if d := cmp.Diff(test.said, said); d != "" || err != nil {
				t.Fatalf("%v (-want +got):\n%s", err, d)
			}
			if asked := n.init.asked(); !slices.Contains(asked, "reboot") {
				t.Errorf("init was asked for %v", asked)
			}
			if _, wiped := d.state(); len(wiped) > 0 {
				t.Errorf("%v was wiped while the node ran", wiped)
			}
			if _, err := n.reset(o); !errors.Is(err, server.ErrPrecondition) {
				t.Errorf("a second one: %v", err)
			}
			n.end()
			d.powerOn()
			next := d.boot(t, state, "boot-2")
			next.await("volumes again", mounts)
			if note, wiped := d.state(); note != "" || !cmp.Equal(test.wiped, wiped) {
				t.Errorf("wiped %v, want %v; the note is %q", wiped, test.wiped, note)
			}
			if told := next.told(server.EventRequest); len(told) != 1 || !strings.Contains(told[0], "asked for by alice") {
				t.Errorf("events %q", told)
			}
		})
	}
}

// TestResetIsRefused: nothing is written, and nothing ends.
func TestResetIsRefused(t *testing.T) {
	d := newResetDisk()
	n := d.boot(t, t.TempDir(), "boot-1")
	n.source.set(documents(t))
	n.await("etcd wanted", func(s snapshot) bool { return s.desired.Etcd != nil })
	other := order(t)
	other.Confirm = "node-of-another-name"
	if _, err := n.reset(other); !errors.Is(err, server.ErrInvalid) || !strings.Contains(err.Error(), other.Confirm) {
		t.Errorf("another name: %v", err)
	}
	d.faults = []error{errors.New("no leader")}
	if _, err := n.reset(order(t)); !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "no leader; nothing was wiped; the forced mode does without") {
		t.Errorf("a node that cannot leave: %v", err)
	}
	if note, wiped := d.state(); note != "" || len(wiped) > 0 {
		t.Errorf("the note is %q, wiped %v", note, wiped)
	}
	d.left = 0
	if _, err := n.reset(order(t)); !errors.Is(err, errPower) {
		t.Errorf("a disk that takes no note: %v", err)
	}
	if slices.Contains(n.init.asked(), "reboot") {
		t.Error("the node goes down")
	}
	plain := startNode(t, t.TempDir(), storagetest.New(1<<30))
	if _, err := plain.reset(order(t)); !errors.Is(err, server.ErrPrecondition) {
		t.Errorf("a node without notes: %v", err)
	}
}

// TestResetThatFailsIsTakenBack: a reset whose caller was told that it failed is not done later.
func TestResetThatFailsIsTakenBack(t *testing.T) {
	d := newResetDisk()
	n := d.boot(t, t.TempDir(), "boot-1")
	n.source.fail(errors.New("none"))
	n.await("volumes", mounts)
	broken := errors.New("input/output error")
	d.writes = []error{nil, broken}
	if _, err := n.reset(order(t)); !errors.Is(err, broken) || !strings.Contains(err.Error(), "has left its cluster, and nothing was wiped") {
		t.Errorf("got %v", err)
	}
	if note, _ := d.state(); note != "" {
		t.Errorf("the note is %q", note)
	}
	d.left = 1
	if _, err := n.reset(order(t)); !errors.Is(err, errPower) || !strings.Contains(err.Error(), "may be gone on with at the next start") {
		t.Errorf("with a note that stays: %v", err)
	}
	if slices.Contains(n.init.asked(), "reboot") {
		t.Error("the node goes down")
	}
}

// TestResetWhileGoingDown: who orders a reset while somebody has the node reboot is told that it is ordered.
func TestResetWhileGoingDown(t *testing.T) {
	d, state := newResetDisk(), t.TempDir()
	n := d.boot(t, state, "boot-1")
	n.source.fail(errors.New("none"))
	n.await("volumes", mounts)
	err := resetsAPI{n.Agent}.Reset(t.Context(), order(t), func(s server.ResetStage, _ string) error {
		if s == server.ResetArmed {
			return machineAPI{n.Agent}.Reboot(t.Context())
		}
		return nil
	})
	if !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "done at the next start all the same, whoever asks for that: wipe data and state") {
		t.Errorf("got %v", err)
	}
	n.end()
	d.powerOn()
	d.boot(t, state, "boot-2").await("volumes again", mounts)
	if note, wiped := d.state(); note != "" || !cmp.Equal([]string{"data", "state"}, wiped) {
		t.Errorf("wiped %v; the note is %q", wiped, note)
	}
}

// TestResetEncrypted: an encrypted disk is wiped before the TPM is asked for its key. Then the node has nothing, and waits for a configuration that says how the
// disk is made, to which the TPM gives a key again.
func TestResetEncrypted(t *testing.T) {
	d, state := newResetDisk(), t.TempDir()
	d.sealed = true
	n := d.boot(t, state, "boot-1")
	n.source.set(withEncryption(t, config.EncryptionTPM))
	n.await("volumes", enrols)
	half := order(t)
	half.Data = false
	if _, err := n.reset(half); !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "its key is on volume state: wipe both") {
		t.Errorf("state alone: %v", err)
	}
	before := d.machine.String()
	if _, err := n.reset(order(t)); err != nil {
		t.Fatal(err)
	}
	n.end()
	// The machine has changed besides: the reset does not need the disk to open.
	d.machine.ChangePCRs(true)
	d.powerOn()
	next := d.boot(t, t.TempDir(), "boot-2")
	next.await("volumes that wait", func(s snapshot) bool { return s.storage.Status.StateUndecided })
	if got := d.machine.String(); strings.Contains(got, "luks2") || strings.Contains(got, "encrypted") {
		t.Errorf("after the reset the disk is\n%s", got)
	}
	if note, wiped := d.state(); note != "" || !cmp.Equal([]string{"data", "state"}, wiped) {
		t.Errorf("wiped %v, the note is %q", wiped, note)
	}
	if capped, err := d.machine.Capped(); capped || err != nil {
		t.Errorf("the TPM is to seal another key, and gives out none: %v", err)
	}
	d.machine.ChangePCRs(false)
	next.source.set(withEncryption(t, config.EncryptionTPM))
	next.await("volumes again", enrols)
	if d := cmp.Diff(before, d.machine.String()); d != "" {
		t.Errorf("made anew (-before +after):\n%s", d)
	}
}

// TestResetOfData: the key of data stays on state until another takes its place.
func TestResetOfData(t *testing.T) {
	d, state := newResetDisk(), t.TempDir()
	d.sealed = true
	n := d.boot(t, state, "boot-1")
	n.source.set(withEncryption(t, config.EncryptionTPM))
	n.await("volumes", enrols)
	before := d.machine.String()
	o := order(t)
	o.State = false
	if _, err := n.reset(o); err != nil {
		t.Fatal(err)
	}
	n.end()
	d.powerOn()
	next := d.boot(t, state, "boot-2")
	next.source.set(withEncryption(t, config.EncryptionTPM))
	next.await("volumes again", enrols)
	if d := cmp.Diff(before, d.machine.String()); d != "" {
		t.Errorf("made anew (-before +after):\n%s", d)
	}
}

// TestResetPowerCuts cuts the power in every operation of a reset, and in every one of going on with it. Once it was written down, and not taken back, it comes
// to its end, whole, with no volume mounted before.
func TestResetPowerCuts(t *testing.T) {
	t.Parallel()
	step := 1
	if testing.Short() {
		step = 3
	}
	for _, forced := range []bool{false, true} {
		for cut := 0; ; cut += step {
			d, state := newResetDisk(), t.TempDir()
			n := d.boot(t, state, "boot-1")
			n.source.fail(errors.New("none"))
			n.await("volumes", mounts)
			o := order(t)
			o.Forced = forced
			d.left = cut
			_, err := n.reset(o)
			n.end()
			ordered, _ := d.state()
			if err == nil { // the cut comes later
				d.machine.Boot(true)
				cutShort := d.boot(t, state, "boot-2")
				cutShort.await("its end, or the cut", func(s snapshot) bool { return s.resetProblem != "" || mounts(s) })
				cutShort.end()
			}
			whole := err == nil && d.left >= 0
			d.powerOn()
			last := d.boot(t, state, "boot-3")
			if ordered != "" && err != nil { // it was to leave, and goes on with that
				last.source.fail(errors.New("none"))
				last.awaitOther("the reboot", func() bool { return slices.Contains(last.init.asked(), "reboot") || wipedAll(d) })
				last.end()
				d.powerOn()
				last = d.boot(t, state, "boot-4")
			}
			last.await("volumes again", mounts)
			note, wiped := d.state()
			if note != "" || (ordered != "") != slices.Contains(wiped, "state") || (ordered != "") != slices.Contains(wiped, "data") {
				t.Fatalf("forced %t, cut %d: ordered %q, the note is %q, wiped %v", forced, cut, ordered, note, wiped)
			}
			last.end()
			if whole {
				t.Logf("forced %t: %d operations", forced, cut)
				break
			}
		}
	}
}

func wipedAll(d *resetDisk) bool {
	_, wiped := d.state()
	return slices.Contains(wiped, "state")
}

// TestResetPowersOff: it powers off when all is wiped, and mounts nothing; when it is turned on again, it starts.
func TestResetPowersOff(t *testing.T) {
	d, state := newResetDisk(), t.TempDir()
	data, err := reset.Begin([]string{"state"}, true, true, "boot-1", "alice").Encode()
	if err != nil {
		t.Fatal(err)
	}
	d.note = data
	n := d.boot(t, state, "boot-2")
	n.awaitOther("the power-off", func() bool { return slices.Contains(n.init.asked(), "poweroff") })
	if mounted, _ := d.machine.Mounted([]string{"/state", "/var"}); len(mounted) > 0 {
		t.Errorf("mounted %v", mounted)
	}
	n.end()
	d.powerOn()
	d.boot(t, state, "boot-3").await("volumes", mounts)
}

// TestResetThatCannotWipe: a node whose volumes cannot be wiped comes up without them, so that it can be asked what is wrong, and has them once they can.
func TestResetThatCannotWipe(t *testing.T) {
	t.Parallel()
	d := newResetDisk()
	data, err := reset.Begin([]string{"state"}, true, false, "boot-1", "alice").Encode()
	if err != nil {
		t.Fatal(err)
	}
	d.note, d.left = data, 0
	n := d.boot(t, t.TempDir(), "boot-2")
	n.source.set(standalone(t))
	n.await("the configuration of the source", func(s snapshot) bool {
		return s.input.Config != nil && s.desired.Network != nil && strings.Contains(reasonOf(s, "reset"), "wiping volumes: state: "+errPower.Error())
	})
	if mounted, _ := d.machine.Mounted([]string{"/state", "/var"}); len(mounted) > 0 {
		t.Errorf("mounted %v", mounted)
	}
	d.mu.Lock()
	d.left = 1 << 30
	d.mu.Unlock()
	n.await("volumes", mounts)
	n.awaitOther("the configuration to be stored", func() bool {
		n.configs.mu.Lock()
		defer n.configs.mu.Unlock()
		return n.configs.store != nil && n.configs.store.Record().Current != 0
	})
	n.end()
	if note, wiped := d.state(); note != "" || !slices.Equal(wiped, []string{"state"}) {
		t.Errorf("wiped %v; the note is %q", wiped, note)
	}
}

// TestResetGoesOn: an agent that ends while the node leaves, or before it goes down, is followed by one that goes on.
func TestResetGoesOn(t *testing.T) {
	t.Parallel()
	for name, stage := range map[string]reset.Record{
		"leaving": reset.Begin([]string{"data"}, false, false, "boot-1", "alice"),
		"armed":   reset.Begin([]string{"data"}, true, false, "boot-1", "alice"),
	} {
		d := newResetDisk()
		d.members = 3
		data, err := stage.Encode()
		if err != nil {
			t.Fatal(err)
		}
		d.note = data
		n := d.boot(t, t.TempDir(), "boot-1")
		n.source.set(documents(t))
		n.etcd.set(etcd.Status{Ready: true, Running: true, Healthy: true})
		n.awaitOther(name, func() bool { return slices.Contains(n.init.asked(), "reboot") })
		n.end()
		if d.leaves > 0 != (name == "leaving") {
			t.Errorf("%s: left %d times", name, d.leaves)
		}
		if r, err := reset.Parse(d.note); err != nil || r.Next("boot-2") != reset.Wipe {
			t.Errorf("%s: the note is %s, %v", name, d.note, err)
		}
	}
}
