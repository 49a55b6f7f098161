package machined

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cyvive/cyvive/internal/machined/boot/timeline"
	"github.com/cyvive/cyvive/internal/machined/ledger"
	"github.com/cyvive/cyvive/internal/machined/server"
)

// Timeline is the record of the running boot, to which init and the agent append.
type Timeline interface {
	Read() ([]timeline.Milestone, error)
	Append(timeline.Milestone) error
	// Now is the time since the kernel's start.
	Now() time.Duration
}

// milestone is one point of the boot that the agent sees.
type milestone struct {
	name    string
	reached func(snapshot) bool
}

func milestones() []milestone {
	return []milestone{
		{"machined", func(snapshot) bool { return true }},
		{"api", func(s snapshot) bool { return s.listening }},
		{"network", func(s snapshot) bool { return s.network.Status.Ready }},
		{"storage", func(s snapshot) bool { return s.storage.Status.Ready }},
		{"confinement", snapshot.isConfined},
		{"etcd", func(s snapshot) bool { return s.etcd.Status.Healthy }},
		{"workload-plane", func(s snapshot) bool { return s.kube.Status.PlaneUp }},
		{"pod-network", func(s snapshot) bool { return s.kube.Status.PodNetwork }},
		{"kube-apiserver-serves", func(s snapshot) bool { return s.kube.Status.APIServerServes }},
		{"kube-apiserver", func(s snapshot) bool { return s.kube.Status.APIServerReady }},
		{"node-ready", func(s snapshot) bool { return s.kube.Status.NodeReady }},
		{"pod-running", func(s snapshot) bool { return s.kube.Status.PodsRunning > 0 }},
	}
}

// keepMilestones appends each milestone when it is first reached in this boot, and keeps the ledger's copy current. An agent that was
// started again finds those of the one before it in the file.
func (a *Agent) keepMilestones(ctx context.Context) error {
	reached := map[string]bool{}
	if old, err := a.cfg.Timeline.Read(); err == nil {
		for _, m := range old {
			reached[m.Name] = true
		}
	}
	return a.whenever(ctx, func(snapshot) bool { return true }, func(s snapshot) {
		for _, m := range milestones() {
			if reached[m.name] || !m.reached(s) {
				continue
			}
			since := a.cfg.Timeline.Now()
			if err := a.cfg.Timeline.Append(timeline.Milestone{Name: m.name, BootTime: since}); err != nil {
				a.log.Error("write the timeline", "error", err)
				continue
			}
			reached[m.name] = true
			a.events.Add(server.EventMilestone, m.name, "reached", fmt.Sprintf("%s after the kernel's start", since.Round(time.Millisecond)))
			a.log.Info("milestone reached", "milestone", m.name, "since_boot", since.Round(time.Millisecond))
		}
		a.recordMilestones()
	})
}

// recordMilestones copies the timeline into the ledger, if that is open.
func (a *Agent) recordMilestones() {
	l := a.history.get()
	if l == nil {
		return
	}
	if err := l.Reached(a.cfg.Boot.ID, a.timeline()); err != nil {
		a.log.Error("write the boot ledger", "error", err)
	}
}

// timeline returns the milestones of this boot in the order of their times, each name once.
func (a *Agent) timeline() []ledger.Milestone {
	list, err := a.cfg.Timeline.Read()
	if err != nil {
		return nil
	}
	var out []ledger.Milestone
	for _, m := range list {
		if !slices.ContainsFunc(out, func(o ledger.Milestone) bool { return o.Name == m.Name }) {
			out = append(out, ledger.Milestone{Name: m.Name, Since: m.BootTime})
		}
	}
	slices.SortStableFunc(out, func(a, b ledger.Milestone) int { return int(a.Since - b.Since) })
	return out
}
