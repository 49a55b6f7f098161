package server

import (
	"context"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// replication writes how the replication jobs fare, with what is wrong with them. A node
// without OpenZFS has none of it.
func (w *exposition) replication(ctx context.Context, jobs Replication) {
	if jobs == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, poolMetricsTimeout)
	defer cancel()
	list, err := jobs.List(ctx, "")
	if err != nil {
		return
	}
	var of []standing
	for _, j := range list {
		of = append(of, standing{j.GetName(), j.GetProblem(), j.GetFailingSince(), j.GetNextAt()})
	}
	w.standings("cyvive_replication", "job", "When a replication job runs next by itself.", of)
}

// schedules writes how the schedules of snapshots fare.
func (w *exposition) schedules(ctx context.Context, snapshots Snapshots) {
	if snapshots == nil {
		return
	}
	list, err := snapshots.Schedules(ctx)
	if err != nil {
		return
	}
	var of []standing
	for _, s := range list {
		of = append(of, standing{s.GetName(), strings.Join(s.GetProblems(), "; "), s.GetFailingSince(), s.GetRetryAt()})
	}
	w.standings("cyvive_snapshots", "schedule", "When a snapshot is tried again that could not be made.", of)
}

// standing is how something fares that is done again and again.
type standing struct {
	name, problem string
	since, next   *timestamppb.Timestamp
}

// standings writes three families, of which the last two have those alone of which the
// time is known. What pauses and is as it should be has a problem's text, and no time
// since when it fails.
func (w *exposition) standings(prefix, label, next string, all []standing) {
	if len(all) == 0 {
		return
	}
	w.family(prefix+"_failing", "gauge", "1 where the last attempt failed, or a person has to decide.")
	for _, s := range all {
		w.sample(flag(s.since != nil), label, s.name)
	}
	w.family(prefix+"_failing_since_seconds", "gauge", "Since when it fails, as the time since 1970, and what is wrong.")
	for _, s := range all {
		if s.since != nil {
			w.sample(float64(s.since.AsTime().Unix()), label, s.name, "reason", s.problem)
		}
	}
	w.family(prefix+"_next_attempt_seconds", "gauge", next+" As the time since 1970.")
	for _, s := range all {
		if s.next != nil {
			w.sample(float64(s.next.AsTime().Unix()), label, s.name)
		}
	}
}
