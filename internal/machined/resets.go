package machined

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cyvive/cyvive/internal/machined/reset"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/supervise/control"
	"github.com/cyvive/cyvive/internal/pki"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/trust/volumes"
)

// Resets is what the agent needs to wipe volumes.
type Resets struct {
	// Read returns the note of a reset, nil if there is none; Write replaces it, and Clear removes it. All three are done when they return.
	Read  func() ([]byte, error)
	Write func([]byte) error
	Clear func() error
	// Wipe makes a volume blank, and whatever it holds hard to find. It is not mounted.
	Wipe func(ctx context.Context, volume string) error
	// Leave removes the node's member from etcd, if there are others.
	Leave func(ctx context.Context, ca *pki.Authority) (left bool, err error)
}

// resetsAPI implements server.Resets.
type resetsAPI struct{ a *Agent }

// Reset implements server.Resets. Once it is written down the caller's context ends nothing.
func (v resetsAPI) Reset(ctx context.Context, o server.ResetOrder, tell func(server.ResetStage, string) error) error {
	a := v.a
	if a.cfg.Resets == nil {
		return fmt.Errorf("%w: this node was not started from a slot of a disk, so it has no volumes of its own", server.ErrPrecondition)
	}
	if !a.resetting.TryLock() {
		return fmt.Errorf("%w: a reset is under way", server.ErrPrecondition)
	}
	defer a.resetting.Unlock()
	if err := a.mayReset(o); err != nil {
		return err
	}
	r := reset.Begin(volumesOf(o), o.Forced, o.PowerOff, a.cfg.Boot.ID, o.By)
	if err := a.writeReset(r); err != nil {
		return a.dropNote(err)
	}
	ctx = context.WithoutCancel(ctx)
	say := func(stage server.ResetStage, what string) {
		a.log.Info("reset", "what", what)
		_ = tell(stage, what) // the caller may have hung up
	}
	if r.Stage == reset.Leaving {
		say(server.ResetLeaving, "the node leaves its cluster")
		if err := a.leaveCluster(ctx, func(what string) { say(server.ResetLeaving, what) }); err != nil {
			return a.dropNote(fmt.Errorf("%w: reset: %w; nothing was wiped; the forced mode does without", server.ErrPrecondition, err))
		}
		if err := a.writeReset(r.Left(a.cfg.Boot.ID)); err != nil {
			return a.dropNote(fmt.Errorf("%w; the node has left its cluster, and nothing was wiped", err))
		}
	}
	say(server.ResetArmed, "at the next start, before any volume is mounted: "+r.String())
	if err := a.endForReset(ctx, r, o.Forced); err != nil {
		return fmt.Errorf("%w; what was ordered is done at the next start all the same, whoever asks for that: %s", err, r)
	}
	return nil
}

// dropNote removes the note of a reset that failed, so that it is not gone on with later by itself. Where that fails too, the error says so.
func (a *Agent) dropNote(failed error) error {
	if err := a.cfg.Resets.Clear(); err != nil {
		return fmt.Errorf("%w; its note could not be removed (%w), so that the reset may be gone on with at the next start", failed, err)
	}
	return failed
}

// mayReset says why the node cannot be reset now.
func (a *Agent) mayReset(o server.ResetOrder) error {
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("read host name: %w", err)
	}
	if o.Confirm != hostname {
		return fmt.Errorf("%w: the confirmation is %.64q, and this node is named %q", server.ErrInvalid, o.Confirm, hostname)
	}
	if err := a.goingDown(); err != nil {
		return err
	}
	if err := keepsKey(o, a.snapshot().storage.Status); err != nil {
		return err
	}
	if err := a.keepsDisks(o); err != nil {
		return err
	}
	if k := a.keeper.Load(); k != nil {
		if status, _ := k.Status(); status.Record.Busy() != nil {
			return fmt.Errorf("%w: %w", server.ErrPrecondition, status.Record.Busy())
		}
	}
	return a.noReset()
}

// noReset is an error while a reset is under way.
func (a *Agent) noReset() error {
	if a.cfg.Resets == nil {
		return nil
	}
	r, err := a.readReset()
	if err != nil {
		return err
	}
	if r.Stage != "" {
		return fmt.Errorf("%w: a reset is under way: %s", server.ErrPrecondition, r)
	}
	return nil
}

// keepsKey refuses to wipe the key of a volume that stays: the data would be there, and nobody could open it but by its recovery key, with each boot.
func keepsKey(o server.ResetOrder, s storage.Status) error {
	if !o.State || o.Data {
		return nil
	}
	for _, v := range s.Volumes {
		if v.Name == storage.Data && v.Encrypted {
			return fmt.Errorf("%w: volume %s is encrypted, and its key is on volume %s: wipe both, or %s alone", server.ErrPrecondition, storage.Data, storage.State, storage.Data)
		}
	}
	return nil
}

// keepsDisks refuses to wipe the keys of pools' disks while nobody has another: with volume state goes all that opens them but a recovery key that was noted. Who forces
// it knows, or does not need what is on them.
func (a *Agent) keepsDisks(o server.ResetOrder) error {
	if !o.State || o.Forced || a.cfg.Vault == nil {
		return nil
	}
	if s := a.snapshot(); s.pooled && !s.poolsSeen {
		return fmt.Errorf("%w: volume %s may have the only keys of pools' disks, and the pools were not looked at yet: wait, or reset with --mode forced",
			server.ErrPrecondition, storage.State)
	}
	var keyed, bare []string
	for _, c := range (disksAPI{a}).containers() {
		if c.Keyed {
			keyed = append(keyed, c.Name)
		}
		if c.Keyed && !c.Recoverable {
			bare = append(bare, c.Name)
		}
	}
	if len(keyed) == 0 {
		return nil
	}
	if len(bare) > 0 {
		return fmt.Errorf("%w: the only keys of encrypted disks of pools are on volume %s, since no recovery key opens these: %s; move what is on them, or reset with --mode forced",
			server.ErrPrecondition, storage.State, strings.Join(bare, ", "))
	}
	_, err := a.cfg.Vault.RecoveryKey()
	switch {
	case errors.Is(err, volumes.ErrNoRecoveryKey):
		return nil // it was noted, and forgotten here
	case err != nil:
		return fmt.Errorf("look whether the recovery key of the pools' disks was noted: %w", err)
	}
	return fmt.Errorf("%w: without volume %s, only the recovery key opens these encrypted disks of pools, and nobody has said that it is noted: %s; note it (nodectl disk recovery-key) "+
		"and have it forgotten (--forget), or reset with --mode forced", server.ErrPrecondition, storage.State, strings.Join(keyed, ", "))
}

// volumesOf are the volumes of an order, the one with the node's identity last: until it is wiped the node is who it was.
func volumesOf(o server.ResetOrder) []string {
	var out []string
	if o.Data {
		out = append(out, storage.Data)
	}
	if o.State {
		out = append(out, storage.State)
	}
	return out
}

// leaveCluster parts from the other members of etcd. Pods are stopped on the way down, as with every reboot.
func (a *Agent) leaveCluster(ctx context.Context, say func(string)) error {
	s := a.snapshot()
	spec := s.desired.Etcd
	if s.input.Config == nil || s.input.Config.Cluster == nil {
		say("the node belongs to no cluster")
		return nil
	}
	if spec == nil {
		return fmt.Errorf("leave etcd: it is not up: %s", s.desired.Waits["etcd"])
	}
	left, err := a.cfg.Resets.Leave(ctx, spec.CA)
	switch {
	case err != nil:
		return err
	case left:
		say("its member was removed from etcd")
	default:
		say("its member of etcd is the only one, and is not removed")
	}
	return nil
}

// endForReset begins the way down. A forced one stops nothing in order.
func (a *Agent) endForReset(ctx context.Context, r reset.Record, forced bool) error {
	a.atOnce(forced)
	err := a.end(ctx, control.Reboot, "reset: "+r.String())
	if err != nil {
		a.atOnce(false)
	}
	return err
}

// atOnce says whether the way down is to stop anything in order.
func (a *Agent) atOnce(yes bool) {
	a.ending.mu.Lock()
	defer a.ending.mu.Unlock()
	a.ending.atOnce = yes
}

// readReset returns the reset that was ordered. What cannot be understood was ordered by nobody: it tells of no volume, and another order may replace it.
func (a *Agent) readReset() (reset.Record, error) {
	data, err := a.cfg.Resets.Read()
	if err != nil {
		return reset.Record{}, fmt.Errorf("read the note of a reset: %w", err)
	}
	r, err := reset.Parse(data)
	if err != nil {
		a.log.Warn("a note of a reset is passed over", "error", err)
	}
	return r, nil
}

func (a *Agent) writeReset(r reset.Record) error {
	data, err := r.Encode()
	if err != nil {
		return err
	}
	if err := a.cfg.Resets.Write(data); err != nil {
		return fmt.Errorf("write the note of a reset: %w", err)
	}
	return nil
}
