package replicate

import (
	"context"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/internal/machined/peer"
	"github.com/cyvive/cyvive/internal/storage/replication"
)

// Plan implements server.Replication. It looks beside a run that goes on, and does not wait for it.
func (v api) Plan(ctx context.Context, name string) (*replicationv1.PlanResponse, error) {
	spec, _, err := v.spec(name)
	if err != nil {
		return nil, err
	}
	if err := mustRun(spec); err != nil {
		return nil, err
	}
	there, conn, err := v.m.cfg.Connect(spec)
	if err != nil {
		return nil, classed(err)
	}
	defer conn.Close()
	local := v.m.side(spec)
	there = checked{there, func(ctx context.Context) ([]replication.RootState, error) { return local.Roots(ctx, here(spec)) }}
	runner := replication.Runner{Job: spec.Job, Sender: local, Receiver: there}
	if !spec.Sends {
		runner.Sender, runner.Receiver = there, local
	}
	p, err := runner.Preview(ctx)
	if err != nil {
		return nil, classed(err)
	}
	return planToProto(p), nil
}

func planToProto(p replication.Plan) *replicationv1.PlanResponse {
	kinds := map[replication.StepKind]replicationv1.StepKind{
		replication.StepPlaceholder: replicationv1.StepKind_STEP_KIND_PLACEHOLDER, replication.StepInitial: replicationv1.StepKind_STEP_KIND_FULL,
		replication.StepIncremental: replicationv1.StepKind_STEP_KIND_INCREMENTAL, replication.StepFinish: replicationv1.StepKind_STEP_KIND_FINISH,
	}
	out := &replicationv1.PlanResponse{Current: uint64(len(p.Current)), FencedBy: p.FencedBy}
	for _, d := range p.Resolutions {
		out.First = append(out.First, valid(d.String()))
	}
	for _, s := range p.Steps {
		out.Steps = append(out.Steps, &replicationv1.Step{
			Kind: kinds[s.Kind], Source: valid(s.Source), Target: valid(s.Target), From: behind(s.From), To: behind(s.To), Resumes: s.Token != "", ExpectedBytes: s.Bytes,
		})
		out.ExpectedBytes += s.Bytes
		if sends := s.Kind == replication.StepInitial || s.Kind == replication.StepIncremental; sends && s.Bytes == 0 {
			out.Unestimated++
		}
	}
	for _, c := range p.Conflicts {
		out.Conflicts = append(out.Conflicts, peer.ConflictToProto(c))
	}
	for _, b := range p.Blocked {
		out.Blocked = append(out.Blocked, valid(b.Source+": "+b.Reason))
	}
	for _, name := range p.Orphans {
		out.Orphans = append(out.Orphans, valid(name))
	}
	for _, name := range p.Empty {
		out.Empty = append(out.Empty, valid(name))
	}
	return out
}

// behind is a version as it stands behind the name of its dataset; empty for none.
func behind(v replication.Version) string {
	switch {
	case v.Name == "":
		return ""
	case v.Bookmark:
		return valid("#" + v.Name)
	}
	return valid("@" + v.Name)
}
