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
	var succeeded, heard, sent []row
	for _, j := range list {
		of = append(of, standing{j.GetName(), j.GetProblem(), j.GetFailingSince(), j.GetNextAt()})
		succeeded, heard = moment(succeeded, j.GetName(), j.GetSucceededAt()), moment(heard, j.GetName(), j.GetHeardAt())
		if j.GetRuns() {
			sent = append(sent, row{j.GetName(), float64(j.GetSentBytes())})
		}
	}
	w.standings("cyvive_replication", "job", "When a replication job runs next by itself.", of)
	w.rows("cyvive_replication_succeeded_timestamp_seconds", "gauge",
		"When the last run of a replication job that went well ended, since the agent was started.", "job", succeeded...)
	w.rows("cyvive_replication_heard_timestamp_seconds", "gauge",
		"When the other node of a replication job last asked for something, since the agent was started.", "job", heard...)
	w.rows("cyvive_replication_sent_bytes_total", "counter",
		"What went over in the runs of a replication job, in whichever direction, since the agent was started.", "job", sent...)
}

// moment adds a time since 1970, if it is known.
func moment(rows []row, label string, at *timestamppb.Timestamp) []row {
	if at == nil {
		return rows
	}
	return append(rows, row{label, float64(at.AsTime().Unix())})
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
	var newest []row
	for _, s := range list {
		of = append(of, standing{s.GetName(), strings.Join(s.GetProblems(), "; "), s.GetFailingSince(), s.GetRetryAt()})
		newest = moment(newest, s.GetName(), s.GetNewestAt())
	}
	w.standings("cyvive_snapshots", "schedule", "When a snapshot is tried again that could not be made.", of)
	w.rows("cyvive_snapshots_newest_timestamp_seconds", "gauge", "When the newest snapshot of a schedule was made.", "schedule", newest...)
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
