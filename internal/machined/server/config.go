package server

import (
	"context"

	"google.golang.org/protobuf/types/known/durationpb"

	configv1 "github.com/cyvive/cyvive/api/proto/config/v1"
)

// configService is node.config.v1 on Configs.
type configService struct {
	configv1.UnimplementedConfigServiceServer
	configs Configs
}

// Get implements configv1.ConfigServiceServer.
func (s *configService) Get(ctx context.Context, req *configv1.GetRequest) (*configv1.GetResponse, error) {
	c, err := s.configs.GetConfig(ctx, req.GetRevision())
	if err != nil {
		return nil, err
	}
	resp := &configv1.GetResponse{
		Revision: revisionToProto(c.Revision), Document: c.Document, Trial: trialToProto(c.Trial), Staged: c.Staged,
		Pending: changesToProto(c.Pending), Problems: c.Problems, Settled: c.Settled,
	}
	if l := c.Last; l != nil {
		resp.Last = &configv1.Outcome{Revision: l.Revision, Succeeded: l.Succeeded, Reason: l.Reason, At: timeToProto(l.At)}
	}
	return resp, nil
}

// Validate implements configv1.ConfigServiceServer.
func (s *configService) Validate(ctx context.Context, req *configv1.ValidateRequest) (*configv1.ValidateResponse, error) {
	c, err := s.configs.ValidateConfig(ctx, ConfigDocument{req.GetName(), req.GetDocument(), req.GetPatch(), req.GetPatchName()}, has(ctx, RoleAdmin))
	if err != nil {
		return nil, err
	}
	resp := &configv1.ValidateResponse{Changes: changesToProto(c.Changes), Domains: domainsToProto(c.Domains)}
	for _, m := range c.Mistakes {
		resp.Mistakes = append(resp.Mistakes, &configv1.Mistake{File: m.File, Line: uint32(m.Line), Field: m.Field, Problem: m.Problem})
	}
	return resp, nil
}

// Apply implements configv1.ConfigServiceServer.
func (s *configService) Apply(ctx context.Context, req *configv1.ApplyRequest) (*configv1.ApplyResponse, error) {
	mode := ConfigMode(req.GetMode())
	switch req.GetMode() {
	case configv1.Mode_MODE_UNSPECIFIED:
		mode = ConfigAuto
	case configv1.Mode_MODE_AUTO, configv1.Mode_MODE_NO_REBOOT, configv1.Mode_MODE_STAGED, configv1.Mode_MODE_TRY:
	default:
		return nil, invalidf("mode %s is none to apply by", req.GetMode())
	}
	if req.GetTryTimeout() != nil && mode != ConfigTry {
		return nil, invalidf("a timeout was given, and the mode is not MODE_TRY")
	}
	local, remote := addressesOf(ctx)
	r, err := s.configs.ApplyConfig(ctx, ConfigRequest{
		ConfigDocument: ConfigDocument{req.GetName(), req.GetDocument(), req.GetPatch(), req.GetPatchName()}, By: subjectOf(ctx), Mode: mode,
		TryTimeout: req.GetTryTimeout().AsDuration(), DryRun: req.GetDryRun(), Expected: req.GetExpectedRevision(),
		Local: local, Peer: remote,
	})
	if err != nil {
		return nil, err
	}
	return &configv1.ApplyResponse{
		Revision: r.Revision, Changes: changesToProto(r.Changes), Domains: domainsToProto(r.Domains), Pending: changesToProto(r.Pending),
		Trial: trialToProto(r.Trial), Notes: r.Notes,
	}, nil
}

// Confirm implements configv1.ConfigServiceServer.
func (s *configService) Confirm(ctx context.Context, req *configv1.ConfirmRequest) (*configv1.ConfirmResponse, error) {
	n, err := s.configs.ConfirmConfig(ctx, subjectOf(ctx), req.GetRevision())
	if err != nil {
		return nil, err
	}
	return &configv1.ConfirmResponse{Revision: n}, nil
}

// History implements configv1.ConfigServiceServer.
func (s *configService) History(ctx context.Context, _ *configv1.HistoryRequest) (*configv1.HistoryResponse, error) {
	revisions, err := s.configs.ConfigHistory(ctx)
	if err != nil {
		return nil, err
	}
	resp := &configv1.HistoryResponse{}
	for _, r := range revisions {
		resp.Revisions = append(resp.Revisions, revisionToProto(r))
	}
	return resp, nil
}

// Diff implements configv1.ConfigServiceServer.
func (s *configService) Diff(ctx context.Context, req *configv1.DiffRequest) (*configv1.DiffResponse, error) {
	d, err := s.configs.DiffConfigs(ctx, req.GetFrom(), req.GetTo())
	if err != nil {
		return nil, err
	}
	return &configv1.DiffResponse{From: d.From, To: d.To, Text: d.Text, Secrets: d.Secrets, Changes: changesToProto(d.Changes)}, nil
}

// Rollback implements configv1.ConfigServiceServer.
func (s *configService) Rollback(ctx context.Context, req *configv1.RollbackRequest) (*configv1.RollbackResponse, error) {
	local, remote := addressesOf(ctx)
	r, err := s.configs.RollbackConfig(ctx, req.GetRevision(), ConfigRequest{
		By: subjectOf(ctx), DryRun: req.GetDryRun(), Expected: req.GetExpectedRevision(), Local: local, Peer: remote,
	})
	if err != nil {
		return nil, err
	}
	return &configv1.RollbackResponse{
		Revision: r.Revision, Changes: changesToProto(r.Changes), Domains: domainsToProto(r.Domains), Pending: changesToProto(r.Pending), Notes: r.Notes,
	}, nil
}

func revisionToProto(r ConfigRevision) *configv1.Revision {
	return &configv1.Revision{
		Number: r.Number, Time: timeToProto(r.Time), By: r.By, Mode: configv1.Mode(r.Mode), Note: r.Note,
		Current: r.Current, Staged: r.Staged, Trying: r.Trying, SizeBytes: uint64(r.SizeBytes), Problem: r.Problem,
	}
}

func changesToProto(list []ConfigChange) []*configv1.Change {
	var out []*configv1.Change
	for _, c := range list {
		out = append(out, &configv1.Change{Field: c.Field, Effect: configv1.Effect(c.Effect), Reason: c.Reason})
	}
	return out
}

func domainsToProto(list []ConfigDomain) []*configv1.Domain {
	var out []*configv1.Domain
	for _, d := range list {
		out = append(out, &configv1.Domain{Name: d.Name, Operations: d.Operations, Waits: d.Waits})
	}
	return out
}

func trialToProto(t *ConfigTrial) *configv1.Trial {
	if t == nil {
		return nil
	}
	return &configv1.Trial{Revision: t.Revision, Back: t.Back, Left: durationpb.New(t.Left)}
}
