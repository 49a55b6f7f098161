package machined

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/reconcile"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/dataset"
	"github.com/cyvive/cyvive/internal/storage/pool"
)

// view returns the operations that a domain would begin a pass with for a desired state; of pools and datasets also what waits for a person. It looks from the domain's own loop, between two passes.
type view func(ctx context.Context, d plan.Desired) ([]string, error)

// previewTimeout is for a loop to get around to that. Its pass may take longer: then what it would do cannot be told.
const previewTimeout = 3 * time.Second

// agentDomain is the name under which the agent's own operations are listed.
const agentDomain = "agent"

func viewOf[Spec, Observed any, Op fmt.Stringer, Status any](
	domain reconcile.Domain[Spec, Observed, Op, Status], ask chan<- func(context.Context), spec func(plan.Desired) *Spec,
) view {
	return func(ctx context.Context, d plan.Desired) ([]string, error) {
		return inLoop(ctx, ask, previewTimeout, func(ctx context.Context) ([]string, error) {
			obs, err := domain.Observe(ctx, *spec(d))
			if err != nil {
				return nil, err
			}
			var ops []string
			for _, op := range domain.Diff(*spec(d), obs) {
				ops = append(ops, op.String())
			}
			return ops, nil
		})
	}
}

// poolPreview are all operations on pools, those too that wait for a person, with what is lost by them, and what keeps pools from being as they are declared.
func poolPreview(spec pool.Spec, obs pool.Observed) []string {
	ops, conditions := pool.Plan(spec, obs)
	var out []string
	for _, o := range ops {
		text := o.String()
		if waits(spec, o) {
			if o.Amount != "" {
				text += ": " + o.Amount
			}
			text += fmt.Sprintf(" (waits for a confirmation: nodectl pool confirm %s)", o.Pool)
		}
		out = append(out, text)
	}
	for _, c := range conditions {
		out = append(out, fmt.Sprintf("to decide: pool %s: %s: %s. %s", c.Pool, c.Kind, strings.TrimSuffix(oneLine(c.Text), "."), c.Next))
	}
	return out
}

// datasetPreview are all operations on datasets, and what of them is not as it is declared. Known are the conditions that there are now: what is declared no more is told of once.
func datasetPreview(spec dataset.Spec, obs dataset.Observed, known []dataset.Condition) []string {
	var out []string
	for _, o := range dataset.Diff(spec, obs) {
		out = append(out, o.String())
	}
	for _, c := range dataset.Conditions(spec, obs) {
		text := oneLine(c.Message)
		switch {
		case c.Reason == dataset.NotDeclared && slices.Contains(known, c):
			continue
		case c.Reason == dataset.RootMissing:
			text = "what would be done is known once its pool is here: " + text
		}
		out = append(out, fmt.Sprintf("dataset %s: %s", c.Dataset, text))
	}
	return out
}

// oneLine is a text in one line.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// inLoop looks from a loop, between two passes of it. It waits previewTimeout at most for its turn, and longest for that and the answer together.
func inLoop[T any](ctx context.Context, ask chan<- func(context.Context), longest time.Duration, look func(context.Context) (T, error)) (T, error) {
	type answer struct {
		out T
		err error
	}
	var none T
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	turn := time.NewTimer(previewTimeout)
	defer turn.Stop()
	answers := make(chan answer, 1)
	do := func(loop context.Context) {
		// The caller's time, but not beyond the end of the loop.
		stop := context.AfterFunc(loop, cancel)
		defer stop()
		out, err := look(ctx)
		answers <- answer{out, err}
	}
	select {
	case ask <- do:
	case <-turn.C:
		return none, fmt.Errorf("ask the loop: %w", context.DeadlineExceeded)
	case <-ctx.Done():
		return none, fmt.Errorf("ask the loop: %w", ctx.Err())
	}
	select {
	case got := <-answers:
		return got.out, got.err
	case <-ctx.Done(): // a system call may take longer than its context
		return none, fmt.Errorf("look at the system: %w", ctx.Err())
	}
}

const (
	// atNextBoot begins what is done at the next boot, and not before.
	atNextBoot = "at the next boot: "
	// untold begins why a loop could not say what it would do.
	untold = "its operations cannot be told now: "
)

// previews is preview of what a draft does at once, which is what leads to force. A dry run is told besides what is done at the next boot, by how the node is now.
// Both are asked for at once, so that they take no longer than one.
func (a *Agent) previews(ctx context.Context, d draft, force *config.Config) (domains []server.ConfigDomain, reach bool, err error) {
	var later []server.ConfigDomain
	var laterErr error
	var asked sync.WaitGroup
	staged := d.by == server.ConfigStaged
	if d.dry && (staged || len(plan.Compare(force, d.cfg)) > 0) {
		asked.Go(func() { later, _, laterErr = a.preview(ctx, d.cfg) })
	}
	if !staged {
		domains, reach, err = a.preview(ctx, force)
	}
	asked.Wait()
	return withLater(domains, later), reach, errors.Join(err, laterErr)
}

// withLater adds to what is done at once what a whole configuration does beside it.
func withLater(now, whole []server.ConfigDomain) []server.ConfigDomain {
	out := slices.Clone(now)
	for _, w := range whole {
		i := slices.IndexFunc(out, func(d server.ConfigDomain) bool { return d.Name == w.Name })
		if i < 0 {
			i, out = len(out), append(out, server.ConfigDomain{Name: w.Name})
			if len(w.Operations) == 0 && w.Waits == "" {
				w.Operations = []string{"go by the new configuration"}
			}
		}
		if strings.HasPrefix(out[i].Waits, untold) {
			continue // which of them are done at once is not known
		}
		done := out[i].Operations
		for _, op := range w.Operations {
			if !slices.Contains(done, op) {
				out[i].Operations = append(out[i].Operations, atNextBoot+op)
			}
		}
		if w.Waits != "" && w.Waits != out[i].Waits {
			out[i].Waits = strings.TrimPrefix(out[i].Waits+"; "+atNextBoot+w.Waits, "; ")
		}
	}
	return out
}

// concerned are the parts of the node that fields are for, besides the agent.
func concerned(list []plan.Change) map[string]bool {
	out := map[string]bool{}
	for _, c := range list {
		kind, _, _ := strings.Cut(c.Field, ".")
		kind, _, _ = strings.Cut(kind, "[")
		switch kind {
		case "Network":
			out[plan.Network] = true
		case "Cluster":
			out[plan.Etcd], out[plan.Kubernetes] = true, true
		case "Registries":
			out[plan.Kubernetes] = true
		case "Pool":
			out[plan.Pools] = true
		case "Dataset":
			out[plan.Datasets] = true
		case "SnapshotSchedule":
			out[plan.Snapshots] = true
		}
	}
	return out
}

// preview says what the parts of the node would do for a configuration, and by the second result whether the network is one of them, or who may
// call the API. A part that a field is for, and that is held back, says for what it waits.
func (a *Agent) preview(ctx context.Context, cfg *config.Config) (domains []server.ConfigDomain, reach bool, err error) {
	input, err := inputOf(cfg)
	if err != nil {
		return nil, false, err
	}
	before := a.snapshot()
	after := before.having(input, a.now())
	if own := agentOperations(before.input.Config, cfg); len(own) > 0 {
		domains = append(domains, server.ConfigDomain{Name: agentDomain, Operations: own})
	}
	var told map[string]bool
	if before.input.Config != nil {
		told = concerned(plan.Compare(before.input.Config, cfg))
	}
	for _, name := range []string{plan.Network, plan.Storage, plan.Pools, plan.Datasets, plan.Snapshots, plan.Etcd, plan.Kubernetes} {
		differs := before.desired.Differs(after.desired, name)
		if !differs && (after.desired.Waits[name] == "" || !told[name]) {
			continue
		}
		reach = reach || differs && name == plan.Network
		domains = append(domains, server.ConfigDomain{Name: name, Waits: after.desired.Waits[name]})
	}
	a.askDomains(ctx, after.desired, domains)
	old := before.input.Config
	return domains, reach || old == nil || old.Machine.CA != cfg.Machine.CA, nil
}

// having returns s as it would be with a configuration.
func (s snapshot) having(input *plan.Input, now time.Time) snapshot {
	s.input.Config, s.input.Trust, s.input.Searched = input.Config, input.Trust, true
	return s.planned(now)
}

// askDomains fills in the operations of those that have views and wait for nothing. They are asked at once, so that who holds a lock meanwhile holds it for
// previewTimeout at most.
func (a *Agent) askDomains(ctx context.Context, desired plan.Desired, domains []server.ConfigDomain) {
	var all sync.WaitGroup
	for i := range domains {
		d := &domains[i]
		look := a.views[d.Name]
		if look == nil || d.Waits != "" {
			continue
		}
		all.Go(func() {
			var err error
			if d.Operations, err = look(ctx, desired); err != nil {
				d.Waits = untold + err.Error()
			}
		})
	}
	all.Wait()
}

// agentOperations are what the agent itself does for another configuration.
func agentOperations(from, to *config.Config) []string {
	if from == nil {
		return nil
	}
	var out []string
	reissued := false
	jobs := map[string]bool{}
	for _, c := range plan.Compare(from, to) {
		if rest, ok := strings.CutPrefix(c.Field, "ReplicationJob["); ok {
			name, _, _ := strings.Cut(rest, "]")
			if !jobs[name] {
				out = append(out, jobOperation(from, to, name))
			}
			jobs[name] = true
			continue
		}
		switch c.Field {
		case "Machine.ca", "Machine.certSANs", "Machine.hostname":
			if !reissued {
				out = append(out, "issue the API's certificate")
			}
			reissued = true
		case "Machine.profile":
			out = append(out, fmt.Sprintf("confine the workload plane by the profile %s", to.Machine.Profile))
		case "Machine.upgrade.deadline":
			out = append(out, fmt.Sprintf("judge releases by a deadline of %s", to.Machine.Upgrade.Deadline))
		case "Machine.time.servers":
			out = append(out, "ask other servers for the time")
		case "Machine.upgrade.gates":
			out = append(out, fmt.Sprintf("judge releases by %d gates besides the node's health", len(to.Machine.Upgrade.Gates)))
		case "Machine.upgrade.sources":
			out = append(out, fmt.Sprintf("know %d servers of releases by their certificates", len(to.Machine.Upgrade.Sources)))
		case "Machine.disk.encryption.kms":
			out = append(out, "have the next `nodectl disk reseal` go by another key server")
		case "Machine.extensions":
			var names []string
			for _, e := range to.Machine.Extensions {
				names = append(names, e.Name+" "+e.Version)
			}
			out = append(out, "use as extensions: "+cmp.Or(strings.Join(names, ", "), "none"))
		}
	}
	return out
}

// jobOperation is what becomes of a replication job.
func jobOperation(from, to *config.Config, name string) string {
	is := func(j config.ReplicationJob) bool { return j.Name == name }
	switch {
	case !slices.ContainsFunc(from.ReplicationJobs, is):
		return fmt.Sprintf("take up the replication job %s", name)
	case !slices.ContainsFunc(to.ReplicationJobs, is):
		return fmt.Sprintf("end the replication job %s; what it has sent or received stays", name)
	}
	return fmt.Sprintf("go on with the replication job %s by what is new in it", name)
}
