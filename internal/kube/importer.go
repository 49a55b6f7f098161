package kube

import (
	"context"
	"sync"
	"time"
)

// importTimeout bounds one attempt to import everything: it reads and unpacks
// some hundred megabytes.
const importTimeout = 10 * time.Minute

// importer brings archives into the plane beside the reconcile loop: it takes
// long, and nothing but the node's readiness waits for it.
//
//	idle ──start──▶ importing ──all done, or an error──▶ idle
type importer struct {
	images Images

	mu sync.Mutex
	// to is the start time of the plane that has got the archives in done. Another
	// plane is asked again, which is cheap where the images are there.
	to      time.Time
	all     []string
	done    map[string]bool
	missing []string
	busy    bool
	problem string
}

// observe fills in what the plane started at to lacks of the archives.
func (i *importer) observe(to time.Time, archives []string, obs *Observed) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !to.Equal(i.to) {
		i.to, i.done = to, map[string]bool{}
	}
	i.all, i.missing = archives, nil
	for _, a := range archives {
		if !i.done[a] {
			i.missing = append(i.missing, a)
		}
	}
	obs.ImagesMissing, obs.Importing, obs.ImportProblem = i.missing, i.busy, i.problem
}

// start imports what the last observation found missing, and lets go of what is of
// another release, in a goroutine of its own that outlives ctx and ends by itself.
func (i *importer) start(ctx context.Context) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.busy {
		return
	}
	i.busy = true
	go i.run(context.WithoutCancel(ctx), i.to, i.missing, i.all)
}

func (i *importer) run(ctx context.Context, to time.Time, archives, all []string) {
	ctx, cancel := context.WithTimeout(ctx, importTimeout)
	defer cancel()
	var problem string
	for _, archive := range archives {
		if err := i.images.Import(ctx, archive); err != nil {
			problem = err.Error()
			break
		}
		i.mu.Lock()
		if to.Equal(i.to) {
			i.done[archive] = true
		}
		i.mu.Unlock()
	}
	if problem == "" {
		// What cannot be let go of now takes room until the next plane starts, and no more.
		_ = i.images.Unpin(ctx, all)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.busy, i.problem = false, problem
}
